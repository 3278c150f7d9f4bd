import { createHash, randomBytes } from "node:crypto";
import type { Auth } from "../auth/claims.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import { jsonText } from "../lib/json.js";
import { checkObject, checkString, kindOf, optionError, rangeError } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/fault.js";
import type { OneTimeStore } from "../store/ports/one-time.js";
import type { OneTimeOutcome, Telemetry } from "../telemetry/telemetry.js";

/** Options of {@link OneTimeValues.issue}. */
export interface OneTimeOptions {
  /** Lifetime of the value: `"1s"` to `"30d"`, or milliseconds. */
  readonly ttl: Duration;
  /**
   * Owner of the value, for `revoke()`: the `auth` of a request, its `principal`, or any text of 1 to 512 characters, such
   * as an e-mail address. Check the text of a client before: one that is an alias of a user's principal is a TypeError.
   * A subject has at most ten outstanding values of a purpose; an eleventh drops the oldest one.
   * @default nobody: `revoke()` does not reach the value
   */
  readonly subject?: string | Pick<Auth, "principal"> | undefined;
}

/** A new one-time value. */
export interface IssuedOneTimeValue {
  /** Text of 44 characters that are safe in a URL, for the client alone: `consume()` needs it. Only its digest is stored. */
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** The content of a one-time value. */
export interface OneTimeValue<Data = unknown> {
  /** A copy of the data that `issue()` got, from JSON. */
  readonly data: Data;
  /** The principal that `issue()` got; undefined without one. */
  readonly subject: string | undefined;
}

/**
 * Values that are consumed once, over all processes of the service. Each value has a random token, for example in a link of an
 * e-mail (OWASP, Forgot Password Cheat Sheet), or as `state` of OpenID Connect.
 *
 * Every method rejects with a {@link StoreFault} (503) if the store cannot answer, and with a TypeError or a RangeError for wrong
 * arguments. A token that is wrong in any way is no error.
 */
export interface OneTimeValues {
  /**
   * Issues a value. `purpose` is a name of 1 to 64 letters, digits, `_`, `-` and `.`, such as `"confirm-email"`; a token of one
   * purpose is worth nothing for another. `data` is JSON of at most 16 KiB.
   */
  issue(purpose: string, data: unknown, options: OneTimeOptions): Promise<IssuedOneTimeValue>;
  /**
   * Ends a value and resolves to it: once, and never twice. Resolves to undefined for a token that is consumed, expired, revoked,
   * of another purpose, or no token at all. After a rejection (503) the value may be consumed: the client needs a new one then,
   * if another call resolves to undefined.
   */
  consume<Data = unknown>(purpose: string, token: unknown): Promise<OneTimeValue<Data> | undefined>;
  /** Resolves to a value, which stays. Use it where a link is opened, since mail scanners open links: the page has a button. */
  peek<Data = unknown>(purpose: string, token: unknown): Promise<OneTimeValue<Data> | undefined>;
  /** Ends all outstanding values of a subject for a purpose. Resolves to their number. `sessions.revokeAll()` does not do it. */
  revoke(purpose: string, subject: string | Pick<Auth, "principal">): Promise<number>;
}

export interface OneTimeServiceOptions {
  readonly store: OneTimeStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  /** Called at each use. */
  readonly onUse: () => void;
  /** Called for data with undefined members, which JSON leaves out. */
  readonly onDropped?: (() => void) | undefined;
}

const minTtlMs = 1000;
const maxTtlMs = 30 * 86_400_000;
const maxBytes = 16 * 1024;
const maxOutstanding = 10;
const maxSubjectLength = 512;

/** 33 random bytes as base64url. The first character is replaced by the bucket of the subject: 258 random bits are left. */
const tokenForm = /^[A-Za-z0-9_-]{44}$/;

/**
 * Issues and consumes one-time values.
 *
 * The first character of a token is a bucket, one of 64. All keys of a bucket share a hash slot, and all values of a subject
 * share a bucket, so that one script does everything. The bucket of a subject comes from a keyed digest: clients cannot choose
 * it. A value without a subject has a random bucket.
 *
 * The digest is SHA-256 without a key: nobody can guess 258 random bits, so it needs neither salt nor cost (OWASP ASVS 5.0,
 * 6.5.2). The value is found by its digest, so that no secret is compared.
 */
export class OneTimeService implements OneTimeValues {
  readonly #store: OneTimeStore;
  readonly #keys: Keyspace;
  readonly #telemetry: Telemetry;
  readonly #onUse: () => void;
  readonly #onDropped: (() => void) | undefined;

  constructor({ store, keys, telemetry, onUse, onDropped }: OneTimeServiceOptions) {
    this.#store = store;
    this.#keys = keys;
    this.#telemetry = telemetry;
    this.#onUse = onUse;
    this.#onDropped = onDropped;
  }

  async issue(purpose: string, data: unknown, options: OneTimeOptions): Promise<IssuedOneTimeValue> {
    checkPurpose(purpose);
    const json = jsonText("oneTime.issue().data", data, maxBytes, this.#onDropped);
    checkObject("oneTime.issue()", options, ["ttl", "subject"]);
    const ttlMs = durationMs("oneTime.issue().ttl", options.ttl, maxTtlMs);
    if (ttlMs < minTtlMs) throw rangeError("oneTime.issue().ttl", 'must be at least "1s"');
    const subject = options.subject === undefined ? undefined : this.#subjectIn("oneTime.issue()", options.subject);
    // Otherwise the owner of the address iss-<digest>.bob@example.org would prove that bob@example.org is his.
    const isText = subject !== undefined && typeof options.subject === "string";
    if (isText && this.#keys.issuers.local(subject) !== options.subject)
      throw optionError("oneTime.issue().subject", "must not be an alias of another user's principal: pass the auth");
    const random = randomBytes(33).toString("base64url");
    const token = subject === undefined ? random : this.#bucketOf(subject) + random.slice(1);
    const { expiresAt } = await this.#ask(
      () =>
        this.#store.issue({
          key: this.#keyOf(purpose, token),
          subjectKey: subject === undefined ? undefined : this.#subjectKey(purpose, subject),
          // JSON text has no line break.
          content: `${JSON.stringify(subject ?? null)}\n${json}`,
          ...{ ttlMs, maxOutstanding },
        }),
      () => "issued",
    );
    return { token, expiresAt: Math.floor(expiresAt / 1000) };
  }

  async consume<Data>(purpose: string, token: unknown): Promise<OneTimeValue<Data> | undefined> {
    const consumption = randomBytes(16).toString("base64url");
    return this.#find<Data>(purpose, token, "consumed", (key) => this.#store.consume(key, consumption));
  }

  async peek<Data>(purpose: string, token: unknown): Promise<OneTimeValue<Data> | undefined> {
    return this.#find<Data>(purpose, token, "peeked", (key) => this.#store.peek(key));
  }

  async revoke(purpose: string, subject: string | Pick<Auth, "principal">): Promise<number> {
    checkPurpose(purpose);
    const key = this.#subjectKey(purpose, this.#subjectIn("oneTime.revoke()", subject));
    return this.#ask(
      () => this.#store.revoke(key),
      () => "revoked",
    );
  }

  async #find<Data>(
    purpose: string,
    token: unknown,
    found: OneTimeOutcome,
    read: (key: string) => Promise<string | undefined>,
  ): Promise<OneTimeValue<Data> | undefined> {
    checkPurpose(purpose);
    if (typeof token !== "string" || !tokenForm.test(token)) {
      this.#telemetry.oneTimeEnded("refused");
      return undefined;
    }
    return this.#ask(
      async () => {
        const content = await read(this.#keyOf(purpose, token));
        return content === undefined ? undefined : this.#parse<Data>(content);
      },
      (value) => (value === undefined ? "refused" : found),
    );
  }

  /** Undefined for a value whose subject is of an issuer that the gate no longer accepts. */
  #parse<Data>(content: string): OneTimeValue<Data> | undefined {
    const end = content.indexOf("\n");
    let universal: unknown;
    let data: Data;
    try {
      universal = JSON.parse(content.slice(0, end));
      data = JSON.parse(content.slice(end + 1)) as Data;
    } catch {
      throw new StoreFault("unreadable", "WRONGTYPE");
    }
    if (universal !== null && typeof universal !== "string") throw new StoreFault("unreadable", "WRONGTYPE");
    if (universal === null) return { data, subject: undefined };
    const subject = this.#keys.issuers.local(universal);
    return subject === undefined ? undefined : { data, subject };
  }

  /** Asks the store, and counts the outcome. */
  async #ask<T>(ask: () => Promise<T>, outcomeOf: (answer: T) => OneTimeOutcome): Promise<T> {
    this.#onUse();
    try {
      const answer = await ask();
      this.#telemetry.oneTimeEnded(outcomeOf(answer));
      return answer;
    } catch (error) {
      if (error instanceof StoreFault) this.#telemetry.oneTimeEnded("failed", error.kind);
      throw error;
    }
  }

  #keyOf(purpose: string, token: string): string {
    // A purpose has no blank.
    const digest = createHash("sha256").update(`${purpose} ${token}`).digest("base64url");
    return this.#keys.coordination("one-time", token.slice(0, 1), digest);
  }

  #subjectKey(purpose: string, subject: string): string {
    const part = `${this.#keys.identifier(subject)}:${purpose}`;
    return this.#keys.coordination("one-time", this.#bucketOf(subject), part);
  }

  #bucketOf(subject: string): string {
    // A digest is "~" and base64url.
    return this.#keys.digest(subject).slice(1, 2);
  }

  /** The text of a subject that is the same for all gates of the service, whichever issuer is their main one. */
  #subjectIn(call: string, subject: unknown): string {
    const { issuers } = this.#keys;
    const option = `${call}.subject`;
    const principal =
      typeof subject === "object" && subject !== null && "principal" in subject
        ? issuers.principalOf(subject as Pick<Auth, "principal">)
        : subject;
    checkString(option, principal);
    const universal = issuers.universal(principal);
    if (issuers.parse(principal).name.length > maxSubjectLength)
      throw rangeError(option, `must have at most ${maxSubjectLength} characters`);
    return universal;
  }
}

function checkPurpose(purpose: unknown): asserts purpose is string {
  if (typeof purpose !== "string")
    throw optionError(
      "the purpose of a one-time value",
      `must be a name such as "confirm-email", not ${kindOf(purpose)}`,
    );
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(purpose)) {
    const form = 'must be 1 to 64 letters, digits, _, - and ., such as "confirm-email"';
    throw optionError("the purpose of a one-time value", `${form}: data of a user goes into its subject or its data`);
  }
}
