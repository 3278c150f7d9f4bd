export * from "./redis/index.js";
export * from "./dpop.js";
export * from "./issuer.js";
export * from "./tokens.js";
