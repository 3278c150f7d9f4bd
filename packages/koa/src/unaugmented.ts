// Everything but the types of the facts on the request, which clash where another library declares its own.
export { portcullis } from "./portcullis.js";
export type { KoaGate, KoaOptions } from "./portcullis.js";
export * from "@portcullis/core";
