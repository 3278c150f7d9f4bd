import type { JWTHeaderParameters } from "jose";
import { GrowingLru } from "../../lib/growing-lru.js";
import { steadyNow } from "../../lib/steady-clock.js";
import type { Logger } from "../../telemetry/logger.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { KeysUnavailable } from "./key-source.js";
import { untilAborted } from "./fetch-json.js";

/**
 * Finds the key of a token by its header and its issuer. Neither is verified yet: use them to look up a key, and for nothing
 * else. Undefined and null: there is no such key (401). An error is an outage (503). The answer is kept by issuer and by the
 * members `kid`, `alg`, `x5t` and `x5t#S256` of the header, so no other member may decide: for ten minutes, and an absent key
 * for half a minute.
 */
export type KeyFunction<Key> = (
  header: Readonly<JWTHeaderParameters>,
  issuer: string,
) => Key | readonly Key[] | undefined | null | Promise<Key | readonly Key[] | undefined | null>;

export interface KeyFunctionOptions<Key> {
  /** The name of the option, for logs. */
  readonly option: string;
  readonly find: KeyFunction<Key>;
  /** Makes a source of the keys that the function returns. Throws for a key that cannot verify. */
  readonly open: (keys: readonly Key[]) => KeySource;
  readonly logger: Logger;
  /** Milliseconds of a monotonic clock. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Longest wait for the function. @default 5 s */
  readonly timeoutMs?: number | undefined;
}

/** How long a key is used before the function is asked again. */
const keptMs = 10 * 60_000;
/** How long an absent key is not asked for again. */
const absentMs = 30_000;
/** Maximum number of keys, absent ones included, and of issuers. */
const maxKept = 1000;
/**
 * Members of a header that say which key has signed (RFC 7515 4.1). Answers are kept by all of them: the function sees them, so
 * a forged token with one of them changed must not leave its answer for the tokens of the issuer.
 */
const choosingMembers = ["kid", "alg", "x5t", "x5t#S256"] as const;
/** Longest `kid` that the function is asked for, and longest name of an answer. */
const maxKidLength = 1024;
const maxNameLength = 8192;
/** Minimum time between two warnings: the keys of one issuer may fail while those of another are found. */
const warningPauseMs = 30_000;

interface Found {
  /** Undefined: there is no such key. */
  readonly source: KeySource | undefined;
  readonly until: number;
}

/** The keys that a function of the application finds, for all issuers of one option. */
export class FunctionKeys<Key> {
  readonly #options: KeyFunctionOptions<Key>;
  readonly #now: () => number;
  readonly #issuers = new GrowingLru<string, KeySource>({ max: maxKept });
  readonly #found = new GrowingLru<string, Found>({ max: maxKept });
  /** Apart, since anybody can invent keys that do not exist, and they must not push out those that do. */
  readonly #absent = new GrowingLru<string, Found>({ max: maxKept });
  /** Calls of the function in progress, by issuer and {@link choosingMembers}. */
  readonly #pending = new Map<string, Promise<Found>>();
  #isFailing = false;
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(options: KeyFunctionOptions<Key>) {
    this.#options = options;
    this.#now = options.now ?? steadyNow;
  }

  of(issuer: string): KeySource {
    let source = this.#issuers.get(issuer);
    if (source === undefined) {
      source = this.#open(issuer);
      this.#issuers.set(issuer, source);
    }
    return source;
  }

  /** All keys of an issuer end together, and then its tokens are verified again. */
  #open(issuer: string): KeySource {
    let version = 0;
    let until = this.#now() + keptMs;
    const renew = (): void => {
      if (this.#now() < until) return;
      version += 1;
      until = this.#now() + keptMs;
    };
    return {
      candidates: async (header) => {
        renew();
        const { source } = await this.#find(header, issuer, until);
        return source === undefined ? none : source.candidates(header);
      },
      known: async (header) => {
        const { source } = await this.#find(header, issuer, until, false);
        return source === undefined ? none : source.candidates(header);
      },
      get version() {
        renew();
        return version;
      },
      status: () => "up",
      close: () => undefined,
    };
  }

  async #find(header: JWTHeaderParameters, issuer: string, until: number, keeps = true): Promise<Found> {
    const kid: unknown = header.kid;
    if (kid !== undefined && (typeof kid !== "string" || kid.length > maxKidLength))
      return { source: undefined, until };
    const name = JSON.stringify([issuer, ...choosingMembers.map((member): unknown => header[member])]);
    if (name.length > maxNameLength) return { source: undefined, until };
    const known = this.#found.get(name) ?? this.#absent.get(name);
    if (known !== undefined && known.until > this.#now()) return known;
    if (!keeps) return this.#ask(header, issuer, until);
    let pending = this.#pending.get(name);
    if (pending === undefined) {
      pending = this.#ask(header, issuer, until).finally(() => this.#pending.delete(name));
      this.#pending.set(name, pending);
    }
    const found = await pending;
    this.#keep(name, found);
    return found;
  }

  #keep(name: string, found: Found): void {
    const [kept, other] = found.source === undefined ? [this.#absent, this.#found] : [this.#found, this.#absent];
    kept.set(name, found);
    other.delete(name);
  }

  async #ask(header: JWTHeaderParameters, issuer: string, until: number): Promise<Found> {
    const { option, find, open, timeoutMs = 5000 } = this.#options;
    try {
      const asked = Promise.resolve().then(() => find(Object.freeze({ ...header }), issuer));
      const given = await untilAborted(AbortSignal.timeout(timeoutMs), asked);
      const keys = given === undefined || given === null ? [] : isList(given) ? given : [given];
      const found: Found =
        keys.length === 0 ? { source: undefined, until: this.#now() + absentMs } : { source: open(keys), until };
      this.#isFailing = false;
      return found;
    } catch (error) {
      this.#warn(error);
      throw new KeysUnavailable(`the function ${option} failed`);
    }
  }

  /** Says in the message what is wrong with a key. The text of another error is for loggers that show fields. */
  #warn(error: unknown): void {
    if (this.#isFailing || this.#now() - this.#warnedAt < warningPauseMs) return;
    this.#isFailing = true;
    this.#warnedAt = this.#now();
    const { option, logger } = this.#options;
    const reason = isOptionError(error) ? ` (${error.message})` : "";
    logger.warn({ err: error }, `portcullis: the function ${option} failed${reason}; its tokens are answered with 503`);
  }
}

const none: readonly CandidateKey[] = [];

/** The messages of our own checks contain no value. */
function isOptionError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && error.code === "option_invalid";
}

function isList<Key>(given: Key | readonly Key[]): given is readonly Key[] {
  return Array.isArray(given);
}
