// The older majors, installed under npm aliases: the same types as far as the tests use them.
declare module "express4" {
  import express from "express";
  export default express;
}
declare module "koa2" {
  import Koa from "koa";
  export default Koa;
}
declare module "ioredis5" {
  export { Redis, Cluster } from "ioredis";
}
