/**
 * Why a token is refused. `token_untimely`: by our clock, so that it is no fault of the token where that is known to be
 * wrong. `keys_unavailable` is an outage.
 */
export interface TokenRefusal {
  readonly code: "token_invalid" | "token_untimely" | "keys_unavailable";
  /** A fixed phrase or jose's error code, for logs. */
  readonly cause: string;
}

export function refuseToken(cause: string): TokenRefusal {
  return { code: "token_invalid", cause };
}

/** A refusal for what the time is by our clock. */
export function untimelyToken(cause: string): TokenRefusal {
  return { code: "token_untimely", cause };
}
