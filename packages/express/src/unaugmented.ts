// All exports without the declarations of facts on the request, which clash with a library that declares the same names.
export { portcullis } from "./portcullis.js";
export type { ExpressGate, ExpressOptions } from "./portcullis.js";
export * from "@portcullis/core";
