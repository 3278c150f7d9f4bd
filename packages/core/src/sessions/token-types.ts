import type { Identifier } from "../auth/identifying-claim.js";
import type { LoginAttempt } from "../login/attempt.js";

import type { Device } from "./request.js";
import type { TokenAnswer } from "./token-error.js";

export interface IssueRequest {
  /** Who has signed in: the `sub` of the tokens. */
  readonly subject: string;
  /** More claims of the access tokens; not those that the gate sets. @default {} */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  /** @default [] */
  readonly scopes?: readonly string[] | undefined;
  /** The organisation that the user acts for: `sessions.revokeGroup(org)` ends the session. 42 is "42". @default none */
  readonly org?: Identifier | undefined;
  /** Where the user has signed in, for `sessions.list()`. @default {} */
  readonly device?: Device | undefined;
  /**
   * The attempt to sign in (`req.loginAttempt`, `ctx.loginAttempt`), of a route behind `throttleLogin()`: says that the password
   * was right. If the session cannot be started because of a fault, the attempt is taken back. @default none is settled
   */
  readonly attempt?: Pick<LoginAttempt, "succeed" | "interrupt"> | undefined;
}

export interface RefreshRequest {
  /** Instead of those the session has; for roles and scopes that have changed. @default as they are */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
  readonly scopes?: readonly string[] | undefined;
  /** Where the session is now. @default as it was */
  readonly device?: Device | undefined;
}

/** An access token and a refresh token of one session. */
export interface IssuedTokens {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly sessionId: string;
  /** When the access token expires, in unix seconds. */
  readonly expiresAt: number;
  /** The same in seconds from now. */
  readonly expiresIn: number;
  readonly refreshExpiresAt: number;
  readonly refreshExpiresIn: number;
  readonly scopes: readonly string[];
  /** The answer of a token endpoint, as JSON (RFC 6749 5.1); to be sent with `Cache-Control: no-store`. */
  readonly response: Readonly<Record<string, unknown>>;
}

/** Issues access and refresh tokens. Every method rejects with a {@link StoreFault} (503) if the store cannot do its part. */
export interface Tokens {
  /**
   * Starts a session. Rejects with a DenialError (409, `session_limit`) if the user has too many already, and with a
   * TypeError for a request that makes no sense.
   */
  issue(request: IssueRequest): Promise<IssuedTokens>;
  /**
   * Replaces a refresh token, with a new access token. A token that was replaced before ends its session, but for the overlap:
   * parallel and repeated calls get the same successor. Rejects with a {@link TokenError} (`invalid_grant`).
   */
  refresh(refreshToken: string | null | undefined, request?: RefreshRequest): Promise<IssuedTokens>;
  /** What a token endpoint answers to an error of these methods; undefined for errors that are none of theirs. */
  answer(error: unknown): TokenAnswer | undefined;
  readonly cookies: TokenCookies;
}

/** Tokens in cookies, as text for `Set-Cookie` (RFC 6265): HttpOnly, Secure, SameSite, and no Domain, so that no other host gets them. */
export interface TokenCookies {
  /** The values of `Set-Cookie` that give a browser these tokens: `res.append("Set-Cookie", cookies.write(tokens))`. */
  write(tokens: IssuedTokens): string[];
  /** The values of `Set-Cookie` that take them away. */
  clear(): string[];
  /** The refresh token in a `Cookie` header, if there is exactly one. */
  readRefresh(header: string | undefined): string | undefined;
}
