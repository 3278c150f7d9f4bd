import type { Logger } from "@portcullis/core";

/** Says nothing: for tests in which trouble is expected. */
export const silentLogger: Logger = { debug: () => undefined, warn: () => undefined };
