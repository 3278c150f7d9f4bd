/** What was wrong with a request to a token endpoint, in the words of RFC 6749 5.2. */
export type TokenErrorCode = "invalid_request" | "invalid_grant" | "temporarily_unavailable";

const descriptions: Readonly<Record<TokenErrorCode, string>> = {
  invalid_request: "The request has no refresh token",
  invalid_grant: "The refresh token is expired, revoked, already used, or was not issued here",
  temporarily_unavailable: "Tokens cannot be issued at the moment",
};

/** An answer of a token endpoint, for whichever framework. */
export interface TokenAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * A refusal of `tokens.refresh()`. Express and Koa answer with its status and headers if nothing else handles it; its
 * JSON is that of RFC 6749 5.2: `res.status(error.status).set(error.headers).json(error)`.
 */
export class TokenError extends Error {
  override readonly name = "TokenError";
  readonly code: TokenErrorCode;
  readonly status = 400;
  readonly statusCode = 400;
  readonly expose = true;
  readonly headers: Readonly<Record<string, string>> = noStore;
  /** Why, in a short fixed phrase for logs. */
  readonly reason: string;

  constructor(code: TokenErrorCode, reason: string) {
    super(descriptions[code]);
    this.code = code;
    // Not for the client: whoever presents a stolen token learns nothing from it.
    this.reason = reason;
  }

  toJSON(): { readonly error: TokenErrorCode; readonly error_description: string } {
    return { error: this.code, error_description: this.message };
  }
}

/** Tokens and what is said about them belong into no cache (RFC 6749 5.1). */
export const noStore: Readonly<Record<string, string>> = Object.freeze({ "Cache-Control": "no-store" });

/** The answer to a client whose request failed because the store is away. */
export function unavailableAnswer(headers: Readonly<Record<string, string>>): TokenAnswer {
  const body = { error: "temporarily_unavailable", error_description: descriptions.temporarily_unavailable };
  return { status: 503, headers: { ...noStore, ...headers }, body };
}
