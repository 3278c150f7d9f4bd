/**
 * The refusal of a token. `token_untimely`: by the clock of this process, which may be known to be wrong. `keys_unavailable`:
 * an outage of the issuer.
 */
export interface TokenRefusal {
  readonly code: "token_invalid" | "token_untimely" | "keys_unavailable";
  /** A fixed phrase or an error code of jose, for logs. */
  readonly cause: string;
  /** The claim that is missing or wrong, where jose names it: a registered one, or one that the options require. */
  readonly claim?: string | undefined;
}

export function refuseToken(cause: string): TokenRefusal {
  return { code: "token_invalid", cause };
}

/** A refusal by the clock of this process. */
export function untimelyToken(cause: string): TokenRefusal {
  return { code: "token_untimely", cause };
}
