import type { Auth } from "../auth/claims.js";
import { identifyingText } from "../auth/identifying-claim.js";
import { callSite } from "../lib/call-site.js";
import type { Logger } from "../telemetry/logger.js";

/** Warnings of one process: enough to be seen, too few to hide other messages. */
const maxWarnings = 20;
/** Shorter identifiers occur in any text by chance. */
const minLength = 3;

/**
 * Warns in development when the request of a signed-in user stores a value that everybody may read. It warns once for each
 * namespace and shape of keys, and never if the key names the user. The default logger shows each message once only; the
 * fields say where. A write with `shared: true` is never reported.
 */
export class SharedUserWarning {
  readonly #logger: Logger;
  readonly #enabled: boolean;
  readonly #seen = new Set<string>();

  constructor(logger: Logger, enabled: boolean = process.env.NODE_ENV !== "production") {
    this.#logger = logger;
    this.#enabled = enabled;
  }

  /** True if no further warning can come. */
  get isSilent(): boolean {
    return !this.#enabled || this.#seen.size >= maxWarnings;
  }

  check(auth: Auth, namespace: string, key: string, payload: string): void {
    const name = `${namespace} ${shapeOf(key)}`;
    if (this.isSilent || this.#seen.has(name)) return;
    const identifiers = identifiersOf(auth);
    if (identifiers.some((identifier) => key.includes(identifier) || namespace.includes(identifier))) return;
    this.#seen.add(name);
    const namesUser = identifiers.some((identifier) => payload.includes(JSON.stringify(identifier)));
    this.#logger.warn(
      { namespace: namespace === "" ? "default" : namespace, at: callSite(), namesUser },
      namesUser
        ? "portcullis: a cached value names the signed-in user, and all users may read it: write it with cache.forUser()"
        : "portcullis: the request of a signed-in user cached a value for all users: write it with cache.forUser(), or set shared: true",
    );
  }
}

/** The shape of a key, without numbers and ids. */
function shapeOf(key: string): string {
  const [head = ""] = /^[A-Za-z_-]{0,24}/.exec(key) ?? [];
  return `${head} ${key.replace(/[^:/.|?&=]/g, "").slice(0, 16)}`;
}

/** The identifiers of the user, and of the user's organisation. */
function identifiersOf({ subject, principal, sessionId, claims }: Auth): string[] {
  const { email, preferred_username: name, org_id: org, tid } = claims as Readonly<Record<string, unknown>>;
  return [subject, principal, sessionId, email, name, identifyingText(org), identifyingText(tid)].filter(
    (text): text is string => typeof text === "string" && text.length >= minLength,
  );
}

/** Warns once for each namespace that a value was not cached because of its size. */
export class OversizeWarning {
  readonly #logger: Logger;
  readonly #maxValueSize: number;
  readonly #warned = new Set<string>();

  constructor(logger: Logger, maxValueSize: number) {
    this.#logger = logger;
    this.#maxValueSize = maxValueSize;
  }

  warn(namespace: string, size: number): void {
    if (this.#warned.has(namespace)) return;
    this.#warned.add(namespace);
    const message = "portcullis: a value was not cached, since it is larger than cache.maxValueSize";
    this.#logger.warn({ namespace, size, maxValueSize: this.#maxValueSize }, message);
  }
}
