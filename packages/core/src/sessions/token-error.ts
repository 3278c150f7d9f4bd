import { outage } from "../lib/outage.js";
import { deny } from "../http/verdict.js";
import type { Denied } from "../http/verdict.js";

/** The error of a request to a token endpoint (RFC 6749 5.2). */
export type TokenErrorCode = "invalid_request" | "invalid_grant" | "temporarily_unavailable";

const descriptions: Readonly<Record<TokenErrorCode, string>> = {
  invalid_request: "The request has no refresh token",
  invalid_grant: "The refresh token is expired, revoked, already used, or was not issued here",
  temporarily_unavailable: "Tokens cannot be issued at the moment",
};

/** A response of a token endpoint, for any framework. */
export interface TokenAnswer {
  /** Status of the response. */
  readonly status: number;
  /** Header fields of the response. */
  readonly headers: Readonly<Record<string, string>>;
  /** Body of the response, as JSON. */
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * The refusal of `tokens.refresh()`. Express and Koa answer with its status and headers if no error handler does. Its JSON
 * follows RFC 6749 5.2: `res.status(error.status).set(error.headers).json(error)`.
 */
export class TokenError extends Error {
  override readonly name = "TokenError";
  /** The error code (RFC 6749, 5.2). */
  readonly code: TokenErrorCode;
  /** Status of the response. */
  readonly status = 400;
  /** The same, as Express and other frameworks name it. */
  readonly statusCode = 400;
  /** Koa and http-errors: the message may be shown to clients. */
  readonly expose = true;
  /** Header fields of the response. */
  readonly headers: Readonly<Record<string, string>> = noStore;
  /** The reason, a short fixed phrase for logs. */
  readonly reason: string;

  constructor(code: TokenErrorCode, reason: string) {
    super(descriptions[code]);
    this.code = code;
    // The client does not get it: it would tell a thief about a stolen token.
    this.reason = reason;
  }

  /** The body of the response of a token endpoint. */
  toJSON(): { readonly error: TokenErrorCode; readonly error_description: string } {
    return { error: this.code, error_description: this.message };
  }
}

/** No cache may store tokens or errors about them (RFC 6749 5.1). */
export const noStore: Readonly<Record<string, string>> = Object.freeze({ "Cache-Control": "no-store" });

/** The response while the store is unavailable. */
export function unavailableAnswer(headers: Readonly<Record<string, string>>): TokenAnswer {
  const body = { error: "temporarily_unavailable", error_description: descriptions.temporarily_unavailable };
  return { status: outage.status, headers: { ...noStore, ...headers }, body };
}

/** The refusal of a sign-in of a user who has as many sessions as `tokens.maxSessions` allows. */
export function tooManySessions(maxSessions: number | undefined): Denied {
  return deny("session_limit", {
    cause: "the user already has the maximum number of sessions",
    detail: () => ({ limit: maxSessions }),
  });
}
