import { callSite } from "../lib/call-site.js";
import type { Logger } from "./logger.js";

/** The kinds of values that are stored as JSON. */
export type JsonValueKind = "a cached value" | "the data of a one-time value" | "a message of a channel" | "claims";

/** Says in development, once for each kind, that a value had undefined members: JSON drops them. */
export class DroppedMembersWarning {
  readonly #logger: Logger;
  readonly #enabled: boolean;
  readonly #warned = new Set<JsonValueKind>();

  constructor(logger: Logger, enabled: boolean = process.env.NODE_ENV !== "production") {
    this.#logger = logger;
    this.#enabled = enabled;
  }

  note(kind: JsonValueKind): void {
    if (!this.#enabled || this.#warned.has(kind)) return;
    this.#warned.add(kind);
    this.#logger.warn(
      { code: "members_dropped", at: callSite() },
      `portcullis: ${kind} had undefined members, which JSON drops: they are missing when it is read; use null to keep them`,
    );
  }
}
