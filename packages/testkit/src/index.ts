export * from "./redis/index.js";
export * from "./tokens.js";
