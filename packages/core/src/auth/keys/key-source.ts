import type { KeyObject } from "node:crypto";
import type { CryptoKey, JWTHeaderParameters } from "jose";

/** A key that may verify a token, with its accepted algorithms. */
export interface CandidateKey {
  readonly key: KeyObject | CryptoKey;
  readonly algorithms: readonly string[];
}

/** A source of verification keys. */
export interface KeySource {
  /**
   * Returns the keys that may have signed a token with this (unverified) header; none if no key fits.
   * Rejects with {@link KeysUnavailable} if there are no keys to choose from.
   */
  candidates(header: JWTHeaderParameters): readonly CandidateKey[] | Promise<readonly CandidateKey[]>;
  /**
   * The same from the keys that are here: it fetches nothing and keeps nothing. Undefined if a request would fetch keys first.
   * @default `candidates`, for keys that are always here
   */
  known?(header: JWTHeaderParameters): Promise<readonly CandidateKey[] | undefined>;
  /** Grows whenever the keys change. Tokens verified under an older version must be verified again. */
  readonly version: number;
  /** `down` while no key has ever been loaded. */
  status(): "up" | "down";
  close(): void;
}

/** There are no keys to verify with: an outage of the identity provider, not a fault of the token. */
export class KeysUnavailable extends Error {
  override readonly name = "KeysUnavailable";
  readonly code = "keys_unavailable";
  /** The reason for which the last attempt to fetch keys has failed: a host and a code. */
  readonly reason: string | undefined;

  constructor(message: string, reason?: string) {
    super(message);
    this.reason = reason;
  }
}

/** A source of keys that never change. */
export function fixedSource(candidates: KeySource["candidates"]): KeySource {
  return { candidates, version: 0, status: () => "up", close: () => undefined };
}
