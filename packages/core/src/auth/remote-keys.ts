import type { JWTHeaderParameters } from "jose";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Logger } from "../telemetry/logger.js";
import type { CandidateKey, KeySelector, KeySource } from "./keys.js";
import { KeysUnavailable, keySelector } from "./keys.js";
import { isTrustworthyUrl } from "../http/trustworthy-url.js";
import { FetchFailure, fetchJson } from "./fetch-json.js";

export interface RemoteKeysOptions {
  /** The address of the key set, or of the issuer whose metadata names it. */
  readonly location: { readonly jwksUri: string } | { readonly issuer: string };
  readonly algorithms: readonly string[];
  readonly logger: Logger;
  readonly telemetry?: Telemetry | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

const refreshMs = 10 * 60_000;
const maxStaleMs = 24 * 3_600_000;
/** Between two fetches because of an unknown `kid`, counted from the last attempt, whatever came of it. */
const cooldownMs = 30_000;
/** Between two attempts while there are no keys at all. */
const retryMs = 1000;

/**
 * The keys of an identity provider, kept through its bad days: refreshed in the background, at most one fetch at a time,
 * the last good keys used for a day when it is away, and an unknown `kid` fetches at most once in 30 s.
 */
export class RemoteKeys implements KeySource {
  readonly #options: RemoteKeysOptions;
  readonly #closing = new AbortController();
  #select: KeySelector | undefined;
  #version = 0;
  #text = "";
  #loadedAt = Number.NEGATIVE_INFINITY;
  #triedAt = Number.NEGATIVE_INFINITY;
  #loading: Promise<void> | undefined;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
    void this.#load();
  }

  async candidates(header: JWTHeaderParameters): Promise<readonly CandidateKey[]> {
    this.#age();
    if (!this.#isUsable()) await this.#loadUnlessTried(retryMs);
    const known = await this.#choose(header);
    if (known !== undefined) return known;
    await this.#loadUnlessTried(cooldownMs);
    return (await this.#choose(header)) ?? [];
  }

  /** Asked at every request, so that keys age also where every token is known already. */
  version(): number {
    this.#age();
    return this.#version;
  }

  status(): "up" | "down" {
    return this.#isUsable() ? "up" : "down";
  }

  close(): void {
    this.#closing.abort();
  }

  #choose(header: JWTHeaderParameters): Promise<readonly CandidateKey[] | undefined> {
    if (this.#select === undefined || !this.#isUsable()) throw new KeysUnavailable("no usable keys have been loaded");
    return this.#select(header);
  }

  /** Refreshes old keys in the background, and gives up on those that are too old. */
  #age(): void {
    if (this.#select === undefined) return;
    const age = this.#options.now() - this.#loadedAt;
    if (age > refreshMs) void this.#loadUnlessTried(cooldownMs);
    if (age <= maxStaleMs) return;
    this.#select = undefined;
    this.#version += 1;
  }

  #isUsable(): boolean {
    return this.#select !== undefined && this.#options.now() - this.#loadedAt <= maxStaleMs;
  }

  async #loadUnlessTried(withinMs: number): Promise<void> {
    if (this.#loading === undefined && this.#options.now() - this.#triedAt < withinMs) return;
    await this.#load();
  }

  #load(): Promise<void> {
    this.#triedAt = this.#options.now();
    this.#loading ??= this.#fetchKeys().finally(() => (this.#loading = undefined));
    return this.#loading;
  }

  async #fetchKeys(): Promise<void> {
    const { location, algorithms, logger, telemetry, now } = this.#options;
    try {
      const jwksUri = "jwksUri" in location ? location.jwksUri : await discover(location.issuer, this.#closing.signal);
      const keySet = await fetchJson(jwksUri, this.#closing.signal);
      this.#select = keySelector("the fetched key set", keySet, algorithms);
      this.#loadedAt = now();
      telemetry?.keysFetched("fetched");
      const text = JSON.stringify(keySet);
      if (text !== this.#text) this.#version += 1;
      this.#text = text;
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      telemetry?.keysFetched("failed");
      // Other messages may quote the address, and a password in it.
      const reason = error instanceof FetchFailure ? error.message : "the request failed";
      logger.warn(
        { reason },
        "portcullis: fetching the keys of the token issuer failed; the last good keys stay in use",
      );
    }
  }
}

/** The `jwks_uri` of an issuer's metadata (OpenID Connect Discovery 1.0 4, RFC 8414 3). */
async function discover(issuer: string, signal: AbortSignal): Promise<string> {
  const metadata = await fetchJson(`${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, signal);
  if (typeof metadata !== "object" || metadata === null)
    throw new FetchFailure("the issuer's metadata is not an object");
  const { issuer: named, jwks_uri: jwksUri } = metadata as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer) throw new FetchFailure("the issuer's metadata names another issuer");
  if (typeof jwksUri !== "string" || !isTrustworthyUrl(jwksUri))
    throw new FetchFailure("the issuer's jwks_uri is not an https URL");
  return jwksUri;
}
