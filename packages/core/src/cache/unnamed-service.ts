import { operations } from "../lib/documentation.js";
import type { Finding } from "../lib/finding.js";
import type { Logger } from "../telemetry/logger.js";

/**
 * A warning and no error: one service alone loses nothing, but the next one that says no name gets its cached values and
 * responses.
 */
export const unnamedService: Finding = {
  code: "service_unnamed",
  severity: "warning",
  message:
    'caches in Redis are shared with every service that has no name; say which one this is: service: "orders-api"',
};

/** Notices that a gate whose service has no name uses a cache in Redis. Says so once, when that begins. */
export class UnnamedServiceWarning {
  readonly #logger: Logger;
  #noted = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get noted(): boolean {
    return this.#noted;
  }

  note(): void {
    if (this.#noted) return;
    this.#noted = true;
    const { code, severity, message } = unnamedService;
    this.#logger.warn({ code, severity }, `portcullis: ${message} (see ${operations}#${code})`);
  }
}
