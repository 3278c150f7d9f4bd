import { createHmac, createSecretKey } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { SignJWT, errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import { isCanonical, maxCompactLength } from "../auth/access-token.js";

/** Claims of a refresh token. */
export interface RefreshClaims {
  readonly subject: string;
  readonly sessionId: string;
  readonly org: string | undefined;
  readonly jti: string;
  /** Number of refresh tokens of the session before this one. */
  readonly generation: number;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** The `jti` of the two tokens that follow a refresh token. Every process with the same key derives the same. */
export interface Successors {
  readonly refresh: string;
  readonly access: string;
}

const typ = "rt+jwt";

/**
 * Signs and reads refresh tokens. They are JWTs with an HMAC, because a repeated request must get the same text. The store
 * has the `jti` only: nobody makes a token of it without the key.
 */
export class RefreshTokens {
  readonly #keys: readonly KeyObject[];
  readonly #issuer: string;

  constructor(keys: readonly Buffer[], issuer: string) {
    this.#keys = keys.map((key) => createSecretKey(key));
    this.#issuer = issuer;
  }

  /** Signs a token whose `jti` was derived from its predecessor, by the key that derived it. A first token is signed by the first key. */
  async sign(claims: RefreshClaims, predecessor: string | undefined): Promise<string> {
    const { subject, sessionId, org, jti, generation, issuedAt, expiresAt } = claims;
    // During a key rotation, another process may have derived it with another key than our first.
    const key =
      predecessor === undefined
        ? this.#keys[0]
        : this.#keys.find((one) => derive(one, "refresh", predecessor, sessionId, generation) === jti);
    if (key === undefined) throw new UnknownKey();
    const payload: JWTPayload = {
      iss: this.#issuer,
      sub: subject,
      sid: sessionId,
      ...(org === undefined ? {} : { org }),
      jti,
      gen: generation,
      iat: issuedAt,
      exp: expiresAt,
      token_use: "refresh",
    };
    return new SignJWT(payload).setProtectedHeader({ alg: "HS256", typ }).sign(key);
  }

  /** Undefined if the token was not issued here. The expiry is not checked: it depends on the store's clock. */
  async read(token: unknown): Promise<RefreshClaims | undefined> {
    if (typeof token !== "string" || token.length > maxCompactLength || !isCanonical(token)) return undefined;
    for (const key of this.#keys) {
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: ["HS256"],
          typ,
          issuer: this.#issuer,
          currentDate: new Date(0),
        });
        return claimsOf(payload);
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) return undefined;
      }
    }
    return undefined;
  }

  /** The successors of a token, by our first key. */
  successors({ jti, sessionId, generation }: RefreshClaims): Successors {
    const [key] = this.#keys as [KeyObject];
    const next = generation + 1;
    return {
      refresh: derive(key, "refresh", jti, sessionId, next),
      access: derive(key, "access", jti, sessionId, next),
    };
  }
}

/** The successor was derived with a key that this process does not have. */
export class UnknownKey extends Error {
  override readonly name = "UnknownKey";
}

function derive(key: KeyObject, use: string, jti: string, session: string, generation: number): string {
  return createHmac("sha256", key)
    .update(JSON.stringify([use, jti, session, generation]))
    .digest("base64url");
}

function claimsOf({ sub, sid, org, jti, gen, iat, exp }: JWTPayload): RefreshClaims | undefined {
  if (typeof sub !== "string" || typeof sid !== "string" || typeof jti !== "string") return undefined;
  if (typeof gen !== "number" || typeof iat !== "number" || typeof exp !== "number") return undefined;
  return {
    subject: sub,
    sessionId: sid,
    org: typeof org === "string" ? org : undefined,
    jti,
    generation: gen,
    issuedAt: iat,
    expiresAt: exp,
  };
}
