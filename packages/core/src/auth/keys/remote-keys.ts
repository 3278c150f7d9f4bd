import type { lookup } from "node:dns";
import type { JWTHeaderParameters } from "jose";
import { GrowingLru } from "../../lib/growing-lru.js";
import { steadyNow } from "../../lib/steady-clock.js";
import type { Logger } from "../../telemetry/logger.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import { discoverKeySet } from "./discovery.js";
import { FetchFailure, fetchJson, isFetchable, reasonOf, untilAborted } from "./fetch-json.js";
import type { FetchFunction, FetchOptions, FetchRules } from "./fetch-json.js";
import type { FetchedKeys, KeySelector } from "./key-set.js";
import { readKeySet } from "./key-set.js";
import type { CandidateKey, KeySource } from "./key-source.js";
import { KeysUnavailable, fixedSource } from "./key-source.js";
import { isForeignHostAllowed } from "./private-address.js";
import { clearTimeout, setTimeout } from "../../lib/real-timers.js";

/** How keys are fetched and kept: `auth.remoteKeys` after it was checked. */
export interface RemoteKeysPolicy {
  /** Age of keys at which they are fetched again in the background. @default 10 minutes */
  readonly refreshMs?: number | undefined;
  /** Maximum age of keys that are used while newer ones cannot be fetched. @default 24 hours */
  readonly maxStaleMs?: number | undefined;
  /** Minimum time between fetches triggered by an unknown `kid`, and before a retry after a failed fetch. @default 30 s */
  readonly cooldownMs?: number | undefined;
  /** Timeout of one attempt, for metadata and key set together. @default 5 s */
  readonly timeoutMs?: number | undefined;
  /** Maximum length of a document. @default 512 KiB */
  readonly maxBytes?: number | undefined;
  /** Allow issuers in a private network? @default false */
  readonly allowPrivateAddresses?: boolean | undefined;
  /** Hosts that may be plain http and private. @default none */
  readonly allowHttp?: readonly string[] | undefined;
  /** Fetches instead of node:http. @default none */
  readonly fetch?: FetchFunction | undefined;
}

/** A function of the application that returns a key set. */
export type KeySetFunction = (request: { readonly signal: AbortSignal }) => unknown;

export interface RemoteKeysOptions extends RemoteKeysPolicy {
  /** The URL of the key set, or of the issuer whose metadata names it, or the function that returns it. */
  readonly location: { readonly jwksUri: string } | { readonly issuer: string } | { readonly jwks: KeySetFunction };
  /** Do the options name the location? Only then it may be on this machine. @default true */
  readonly isNamed?: boolean | undefined;
  readonly algorithms: readonly string[];
  readonly logger: Logger;
  readonly telemetry?: Telemetry | undefined;
  /** Milliseconds of a monotonic clock, so that a changed wall clock neither ends nor keeps keys. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Resolves host names. @default lookup of node:dns */
  readonly resolve?: typeof lookup | undefined;
}

/** Pause before the second attempt while there are no keys at all. It doubles from attempt to attempt. */
const firstRetryMs = 1000;
/** Maximum pause while requests wait for keys. */
const maxRetryMs = 10_000;

/**
 * The keys of an identity provider. They are loaded at start and refreshed in the background, one fetch at a time. While the
 * provider fails, the last good keys are used for up to `maxStaleMs`. An unknown `kid` triggers at most one fetch in
 * `cooldownMs`.
 */
export class RemoteKeys implements KeySource {
  readonly #options: RemoteKeysOptions & {
    readonly [Name in Exclude<keyof RemoteKeysPolicy, "allowHttp" | "fetch"> | "now"]-?: NonNullable<
      RemoteKeysOptions[Name]
    >;
  };
  #select: KeySelector | undefined;
  /** The last fetched set, also if it has no usable key. */
  #fetched: FetchedKeys | undefined;
  #fingerprint = "";
  #reported = "";
  #version = 0;
  #loadedAt = Number.NEGATIVE_INFINITY;
  #triedAt = Number.NEGATIVE_INFINITY;
  /** Time of the last attempt for an unknown `kid`. */
  #unknownKidAt = Number.NEGATIVE_INFINITY;
  /** Pause between the end of the last attempt and the next scheduled one. */
  #pauseMs = Number.POSITIVE_INFINITY;
  /** Failed attempts since the last success. */
  #failures = 0;
  /** The reason of the last failure. */
  #failure: string | undefined;
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

  /** An attempt in progress is awaited, and none is begun. */
  async known(header: JWTHeaderParameters): Promise<readonly CandidateKey[] | undefined> {
    await this.#loading;
    const { cooldownMs, maxStaleMs, now } = this.#options;
    const isStale = now() - this.#loadedAt > maxStaleMs;
    if (this.#select === undefined || isStale) {
      if (this.#hasPassed(Math.min(this.#pauseMs, maxRetryMs))) return undefined;
      throw new KeysUnavailable("no usable keys have been loaded");
    }
    const known = await this.#choose(header);
    if (known !== undefined) return known;
    return this.#hasPassed(cooldownMs, this.#failures === 0 ? this.#unknownKidAt : this.#triedAt)
      ? undefined
      : this.#noSuchKey();
  }

  /** Read at every request, so that keys age even if every token is known. */
  get version(): number {
    void this.#keepFresh();
    return this.#version;
  }

  status(): "up" | "down" {
    void this.#keepFresh();
    if (this.#select !== undefined) return "up";
    // A service that is not ready gets no requests, so it must load keys without them.
    void this.#loadAfter(Math.min(this.#pauseMs, maxRetryMs));
    return "down";
  }

  /** Known tokens must be verified again, since nothing would notice that the issuer withdrew a key. */
  close(): void {
    this.#closed = true;
    this.#version += 1;
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  /** The keys that may have signed; undefined if only a newer set may have them. */
  async #choose(header: JWTHeaderParameters): Promise<readonly CandidateKey[] | undefined> {
    const chosen = await this.#select?.(header);
    if (chosen !== undefined) return chosen;
    // The issuer published the key, but the key must not verify.
    if (this.#fetched?.mayBeRefused(header) === true) return [];
    if (this.#select === undefined) throw new KeysUnavailable("no usable keys have been loaded", this.#failure);
    return undefined;
  }

  /** After a failed attempt the issuer may have such a key by now, so the answer is an outage. */
  #noSuchKey(): readonly CandidateKey[] {
    if (this.#failures > 0)
      throw new KeysUnavailable("the key is unknown, and newer keys cannot be fetched", this.#failure);
    return [];
  }

  /** Refreshes old keys in the background and drops keys that are too old. Returns the attempt that it begins. */
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

  /** Has this time passed since the last attempt, or another time? A clock that was put back counts as passed. */
  #hasPassed(ms: number, since = this.#triedAt): boolean {
    const elapsed = this.#options.now() - since;
    return elapsed >= ms || elapsed < 0;
  }

  /**
   * Fetches newer keys for an unknown `kid`. A successful refresh does not start the cooldown, since the issuer may have begun
   * to use a new key right after it.
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
   * Waits for an attempt that begins now, or for one in progress unless the attempt before it failed. So only one request at a
   * time waits for an issuer that is down.
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
      const reason = reasonOf(abort.signal.aborted && !(error instanceof FetchFailure) ? timeout : error);
      this.#failure = reason;
      logger.warn(
        { reason, err: this.#errorOfApplication(error) },
        `portcullis: fetching the keys of the token issuer failed (${reason}); ${this.#consequence()}`,
      );
    } finally {
      clearTimeout(deadline);
      this.#loading = undefined;
      this.#triedAt = now();
      this.#pauseMs = this.#choosePause();
      this.#schedule();
    }
  }

  /** An error of a function of the application is logged whole, since only its text may say what to do. */
  #errorOfApplication(error: unknown): unknown {
    return "jwks" in this.#options.location && !(error instanceof FetchFailure) ? error : undefined;
  }

  async #fetch(signal: AbortSignal): Promise<FetchedKeys> {
    const { location, isNamed, algorithms, maxBytes, ...rest } = this.#options;
    if ("jwks" in location) {
      const { jwks } = location;
      const given = Promise.resolve().then(() => jwks({ signal }));
      return readKeySet(await untilAborted(signal, given), algorithms);
    }
    const rules: FetchRules = rest;
    const options: FetchOptions = { ...rules, signal, maxBytes, allowLoopback: isNamed };
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

  /** Warns once about keys that are not used, not at every refresh. */
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

  /** Schedules the next attempt by a timer, so that keys stay fresh without requests. */
  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    // The clock may stop or jump, as in tests or on a suspended machine.
    const remainingMs = this.#triedAt + this.#pauseMs - this.#options.now();
    this.#timer = setTimeout(
      () => {
        if (this.#hasPassed(this.#pauseMs)) void this.#load();
        else this.#schedule();
      },
      Math.min(Math.max(remainingMs, 1), this.#pauseMs),
    ).unref();
  }

  /** Pause until the next scheduled attempt, shortened by up to a quarter so that processes do not fetch at once. */
  #choosePause(): number {
    const { refreshMs, cooldownMs } = this.#options;
    const first = this.#select === undefined ? firstRetryMs : cooldownMs;
    const longest =
      this.#failures === 0 ? refreshMs : Math.min(first * 2 ** Math.min(this.#failures - 1, 20), refreshMs);
    return Math.ceil(longest * (0.75 + Math.random() / 4));
  }
}

/** Maximum number of issuers with open keys; the least recently used is closed. */
const maxTenants = 1000;

/** For an issuer whose address is not allowed. Its tokens are refused, whatever the application says. */
const noKeys: KeySource = fixedSource(() => []);

/** The keys of issuers that a function accepts. They are discovered when the first token of an issuer comes. */
export class TenantKeys {
  readonly #open: (issuer: string) => KeySource;
  readonly #rules: FetchRules;
  readonly #tenants = new GrowingLru<string, KeySource>({ max: maxTenants, dispose: (keys) => keys.close() });

  constructor(open: (issuer: string) => KeySource, rules: FetchRules) {
    this.#open = open;
    this.#rules = rules;
  }

  of(issuer: string): KeySource {
    if (!this.#mayFetch(issuer)) return noKeys;
    const known = this.#tenants.get(issuer);
    if (known !== undefined) return known;
    const keys = this.#open(issuer);
    this.#tenants.set(issuer, keys);
    return keys;
  }

  /** The keys of an issuer that are here; undefined if a request would fetch them first. */
  known(issuer: string): KeySource | undefined {
    return this.#mayFetch(issuer) ? this.#tenants.peek(issuer) : noKeys;
  }

  /** The issuer comes from an unverified token, so it must not lead this process into its own network. */
  #mayFetch(issuer: string): boolean {
    if (!isFetchable(issuer, this.#rules)) return false;
    const { protocol, host, hostname } = new URL(issuer);
    if (protocol === "http:" && this.#rules.allowHttp?.includes(host) === true) return true;
    return isForeignHostAllowed(hostname, this.#rules.allowPrivateAddresses);
  }

  /** `up` before the first token, when no issuer is known. */
  status(): "up" | "down" {
    const all = [...this.#tenants.values()];
    return all.length > 0 && all.every((keys) => keys.status() === "down") ? "down" : "up";
  }

  close(): void {
    this.#tenants.clear();
  }
}
