import type { Auth } from "../auth/claims.js";
import { identifyingText } from "../auth/identifying-claim.js";
import type { Logger } from "../telemetry/logger.js";

/** Warnings of one process: enough to be seen, too few to drown anybody. */
const maxWarnings = 20;
/** Shorter identifiers are in everything. */
const minLength = 3;

/**
 * In development, says when what a signed-in user's request made is put where everybody finds it. Once for each namespace
 * and shape of keys, and never if the key names the user. The default logger shows each message once only; the fields say
 * where. A write that is meant so says `shared: true`.
 */
export class SharedUserWarning {
  readonly #logger: Logger;
  readonly #enabled: boolean;
  readonly #seen = new Set<string>();

  constructor(logger: Logger, enabled: boolean = process.env.NODE_ENV !== "production") {
    this.#logger = logger;
    this.#enabled = enabled;
  }

  /** Is there nothing more to say? */
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
        ? "portcullis: a cached value names the user who is signed in, and everybody may read it: write it by cache.forUser()"
        : "portcullis: a signed-in user's request cached a value for everybody: write it by cache.forUser(), or say shared: true",
    );
  }
}

/** What a key is like, without its numbers, ids and whatever else changes. */
function shapeOf(key: string): string {
  const [head = ""] = /^[A-Za-z_-]{0,24}/.exec(key) ?? [];
  return `${head} ${key.replace(/[^:/.|?&=]/g, "").slice(0, 16)}`;
}

/** What tells this user, or their organisation, from others. */
function identifiersOf({ subject, principal, sessionId, claims }: Auth): string[] {
  const { email, preferred_username: name, org_id: org, tid } = claims as Readonly<Record<string, unknown>>;
  return [subject, principal, sessionId, email, name, identifyingText(org), identifyingText(tid)].filter(
    (one): one is string => typeof one === "string" && one.length >= minLength,
  );
}

/** The first line of the stack that is the application's; undefined behind an await. */
function callSite(): string | undefined {
  const lines = (new Error().stack ?? "").split("\n").slice(1);
  const own = lines.find((line) => !/[/\\](@portcullis|packages)[/\\]core[/\\]|node:|processTicks/.test(line));
  return own?.trim().replace(/^at /, "");
}
