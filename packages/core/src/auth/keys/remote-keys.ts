import type { lookup } from "node:dns";
import type { JWTHeaderParameters } from "jose";
import { LRUCache } from "lru-cache";
import { steadyNow } from "../../lib/steady-clock.js";
import { isTrustworthyUrl } from "../../lib/trustworthy-url.js";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { discoverKeySet } from "./discovery.js";
import { FetchFailure, fetchJson, reasonOf } from "./fetch-json.js";
import type { FetchOptions } from "./fetch-json.js";
import type { FetchedKeys, KeySelector } from "./key-set.js";
import { readKeySet } from "./key-set.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { KeysUnavailable, fixedSource } from "./key-source.js";
import { isForeignHostAllowed } from "./private-address.js";

/** How keys are fetched and kept; users say it by `auth.remoteKeys`. */
export interface RemoteKeysPolicy {
  /** Age at which keys are fetched anew, in the background. @default 10 minutes */
  readonly refreshMs?: number | undefined;
  /** Age at which keys are of no use any more. @default 24 hours */
  readonly maxStaleMs?: number | undefined;
  /** Between two fetches because of an unknown `kid`, and after a failed one, whatever came of them. @default 30 s */
  readonly cooldownMs?: number | undefined;
  /** For one attempt, metadata and key set together. @default 5 s */
  readonly timeoutMs?: number | undefined;
  /** Longest document. @default 512 KiB */
  readonly maxBytes?: number | undefined;
  /** May the issuer be in a private network? @default false */
  readonly allowPrivateAddresses?: boolean | undefined;
}

export interface RemoteKeysOptions extends RemoteKeysPolicy {
  /** The address of the key set, or of the issuer whose metadata names it. */
  readonly location: { readonly jwksUri: string } | { readonly issuer: string };
  /** Do the options name the location? Only then may it be on this machine without further permission. @default true */
  readonly isNamed?: boolean | undefined;
  readonly algorithms: readonly string[];
  readonly logger: Logger;
  readonly telemetry?: Telemetry | undefined;
  /** Milliseconds of a clock that nobody sets: an age must neither end good keys nor keep old ones. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** How host names are resolved. @default that of node:dns */
  readonly resolve?: typeof lookup | undefined;
}

/** Until the second attempt while there are no keys at all; then it doubles from attempt to attempt. */
const firstRetryMs = 1000;
/** The longest until the next one if somebody asks for keys meanwhile. */
const maxRetryMs = 10_000;

/**
 * The keys of an identity provider, kept through its bad days: loaded at start and refreshed in the background, at most
 * one fetch at a time; the last good keys serve while it is away or answers nonsense, but not longer than `maxStaleMs`;
 * an unknown `kid` fetches at most once in `cooldownMs`.
 */
export class RemoteKeys implements KeySource {
  readonly #options: RemoteKeysOptions & {
    readonly [Name in keyof RemoteKeysPolicy | "now"]-?: NonNullable<RemoteKeysOptions[Name]>;
  };
  #select: KeySelector | undefined;
  /** The set as last fetched, good or not. */
  #fetched: FetchedKeys | undefined;
  #fingerprint = "";
  #reported = "";
  #version = 0;
  #loadedAt = Number.NEGATIVE_INFINITY;
  #triedAt = Number.NEGATIVE_INFINITY;
  /** When an unknown `kid` last led to an attempt. */
  #unknownKidAt = Number.NEGATIVE_INFINITY;
  /** From the end of the last attempt to the next that nobody has to ask for. */
  #pauseMs = Number.POSITIVE_INFINITY;
  /** Attempts since the last that succeeded. */
  #failures = 0;
  #loading: Promise<void> | undefined;
  #abort: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RemoteKeysOptions) {
    this.#options = {
      ...options,
      now: options.now ?? steadyNow,
      refreshMs: options.refreshMs ?? 10 * 60_000,
      maxStaleMs: options.maxStaleMs ?? 24 * 3_600_000,
      cooldownMs: options.cooldownMs ?? 30_000,
      timeoutMs: options.timeoutMs ?? 5000,
      maxBytes: options.maxBytes ?? 512 * 1024,
      allowPrivateAddresses: options.allowPrivateAddresses ?? false,
    };
    void this.#load();
  }

  async candidates(header: JWTHeaderParameters): Promise<readonly CandidateKey[]> {
    const refresh = this.#keepFresh();
    if (this.#select === undefined) await (refresh ?? this.#loadAfter(Math.min(this.#pauseMs, maxRetryMs)));
    const known = await this.#choose(header);
    if (known !== undefined) return known;
    await (refresh ?? this.#fetchNewer());
    return (await this.#choose(header)) ?? this.#noSuchKey();
  }

  /** Asked at every request, so that keys age also where every token is known already. */
  version(): number {
    void this.#keepFresh();
    return this.#version;
  }

  status(): "up" | "down" {
    void this.#keepFresh();
    if (this.#select !== undefined) return "up";
    // No requests come to a service that is not ready, so it must get ready without them.
    void this.#loadAfter(Math.min(this.#pauseMs, maxRetryMs));
    return "down";
  }

  /** What was verified with these keys must be verified anew: nobody would hear that the issuer has taken one back. */
  close(): void {
    this.#closed = true;
    this.#version += 1;
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  /** The keys that may have signed; undefined if only a newer set could have them. */
  async #choose(header: JWTHeaderParameters): Promise<readonly CandidateKey[] | undefined> {
    const chosen = await this.#select?.(header);
    if (chosen !== undefined) return chosen;
    // The issuer has said with which key, and that one must not verify anything.
    if (this.#fetched?.mayBeRefused(header) === true) return [];
    if (this.#select === undefined) throw new KeysUnavailable("no usable keys have been loaded");
    return undefined;
  }

  /** After a failed attempt nobody knows whether the issuer has such a key by now. */
  #noSuchKey(): readonly CandidateKey[] {
    if (this.#failures > 0) throw new KeysUnavailable("the key is unknown, and newer keys cannot be fetched");
    return [];
  }

  /** Refreshes old keys in the background, and gives up on those that are too old. The attempt, if it begins one. */
  #keepFresh(): Promise<void> | undefined {
    if (this.#select === undefined) return undefined;
    const refresh = this.#loading === undefined && this.#hasPassed(this.#pauseMs) ? this.#load() : undefined;
    if (this.#options.now() - this.#loadedAt > this.#options.maxStaleMs) {
      this.#select = undefined;
      this.#fetched = undefined;
      this.#version += 1;
    }
    return refresh;
  }

  /** Since the last attempt, or another moment. A clock that was put back must not stop time for us. */
  #hasPassed(ms: number, since = this.#triedAt): boolean {
    const elapsed = this.#options.now() - since;
    return elapsed >= ms || elapsed < 0;
  }

  /**
   * Looks for a key that is unknown. A refresh that went well a moment ago does not stand in the way: an issuer may have
   * begun to sign with a new key just then.
   */
  async #fetchNewer(): Promise<void> {
    const { cooldownMs, now } = this.#options;
    if (this.#loading === undefined) {
      if (!this.#hasPassed(cooldownMs, this.#failures === 0 ? this.#unknownKidAt : this.#triedAt)) return;
      this.#unknownKidAt = now();
    }
    await this.#loadAfter(0);
  }

  /**
   * Waits for newer keys, if it is worth it: for an attempt that begins now, or for one under way unless the one before
   * it has failed. So one request at a time stands and waits for an issuer that is away, and not all.
   */
  async #loadAfter(pauseMs: number): Promise<void> {
    if (this.#loading !== undefined) return this.#failures === 0 ? this.#loading : undefined;
    if (this.#hasPassed(pauseMs)) await this.#load();
  }

  #load(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#loading ??= this.#attempt();
    return this.#loading;
  }

  async #attempt(): Promise<void> {
    const { now, timeoutMs, logger, telemetry } = this.#options;
    const abort = new AbortController();
    this.#abort = abort;
    const timeout = new FetchFailure(`there was no complete answer within ${timeoutMs} ms`);
    const deadline = setTimeout(() => abort.abort(timeout), timeoutMs).unref();
    try {
      this.#adopt(await this.#fetch(abort.signal));
      this.#failures = 0;
      telemetry?.keysFetched("fetched");
    } catch (error) {
      if (this.#closed) return;
      telemetry?.keysFetched("failed");
      this.#failures += 1;
      const reason = reasonOf(abort.signal.aborted ? timeout : error);
      logger.warn({ reason }, `portcullis: fetching the keys of the token issuer failed; ${this.#consequence()}`);
    } finally {
      clearTimeout(deadline);
      this.#loading = undefined;
      this.#triedAt = now();
      this.#pauseMs = this.#choosePause();
      this.#schedule();
    }
  }

  async #fetch(signal: AbortSignal): Promise<FetchedKeys> {
    const { location, isNamed, algorithms, resolve, maxBytes, allowPrivateAddresses } = this.#options;
    const options: FetchOptions = { signal, maxBytes, allowPrivateAddresses, allowLoopback: isNamed, resolve };
    const jwksUri = "jwksUri" in location ? location.jwksUri : await discoverKeySet(location.issuer, options);
    return readKeySet(await fetchJson(jwksUri, options), algorithms);
  }

  #adopt(fetched: FetchedKeys): void {
    this.#fetched = fetched;
    this.#reportUnused(fetched.problems);
    if (fetched.select === undefined) throw new FetchFailure("the key set has no key that can verify");
    this.#loadedAt = this.#options.now();
    this.#select = fetched.select;
    if (fetched.fingerprint !== this.#fingerprint) this.#version += 1;
    this.#fingerprint = fetched.fingerprint;
  }

  /** Once, and not at every refresh. */
  #reportUnused(complaints: readonly string[]): void {
    const text = complaints.join("; ");
    if (text !== "" && text !== this.#reported) {
      const message =
        "portcullis: the key set of the token issuer has keys that are not used; tokens signed with them are refused";
      this.#options.logger.warn({ reason: text }, message);
    }
    this.#reported = text;
  }

  #consequence(): string {
    return this.#select === undefined
      ? "there are none, and requests with a token are answered with 503"
      : "the last good keys stay in use";
  }

  /** By a timer, so that keys stay fresh and come back also where no request asks for them. */
  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    // The clock may stand or jump, as a test's or a suspended machine's does.
    const remainingMs = this.#triedAt + this.#pauseMs - this.#options.now();
    this.#timer = setTimeout(
      () => {
        if (this.#hasPassed(this.#pauseMs)) void this.#load();
        else this.#schedule();
      },
      Math.min(Math.max(remainingMs, 1), this.#pauseMs),
    ).unref();
  }

  /** Until the next attempt that nobody has to ask for; by up to a quarter shorter, lest many processes come at once. */
  #choosePause(): number {
    const { refreshMs, cooldownMs } = this.#options;
    const first = this.#select === undefined ? firstRetryMs : cooldownMs;
    const longest =
      this.#failures === 0 ? refreshMs : Math.min(first * 2 ** Math.min(this.#failures - 1, 20), refreshMs);
    return Math.ceil(longest * (0.75 + Math.random() / 4));
  }
}

/** Issuers whose keys are kept at once; the one longest unused makes room. */
const maxTenants = 1000;

/** Of an issuer that nobody can be asked about safely: its tokens are refused, whatever the application says. */
const noKeys: KeySource = fixedSource(() => []);

/** The keys of issuers that a function accepts, each discovered when its first token comes. */
export class TenantKeys {
  readonly #open: (issuer: string) => KeySource;
  readonly #allowPrivateAddresses: boolean;
  readonly #tenants = new LRUCache<string, KeySource>({ max: maxTenants, dispose: (keys) => keys.close() });

  constructor(open: (issuer: string) => KeySource, allowPrivateAddresses: boolean) {
    this.#open = open;
    this.#allowPrivateAddresses = allowPrivateAddresses;
  }

  of(issuer: string): KeySource {
    if (!this.#mayFetch(issuer)) return noKeys;
    const known = this.#tenants.get(issuer);
    if (known !== undefined) return known;
    const keys = this.#open(issuer);
    this.#tenants.set(issuer, keys);
    return keys;
  }

  /** The issuer is the word of a token that nobody has verified, so it must not make this process ask its own network. */
  #mayFetch(issuer: string): boolean {
    return isTrustworthyUrl(issuer) && isForeignHostAllowed(new URL(issuer).hostname, this.#allowPrivateAddresses);
  }

  /** No tenant is known before its first token, so there is nothing to be down. */
  status(): "up" | "down" {
    const all = [...this.#tenants.values()];
    return all.length > 0 && all.every((keys) => keys.status() === "down") ? "down" : "up";
  }

  close(): void {
    this.#tenants.clear();
  }
}
