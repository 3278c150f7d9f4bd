import type { Logger } from "@portcullis/core";
import { hear } from "./ear.js";

/** Says nothing, for tests in which trouble is expected; but what it is told must hold no secret. */
export const silentLogger: Logger = { debug: hear, warn: hear };
