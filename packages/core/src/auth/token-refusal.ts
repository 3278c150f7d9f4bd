import type { DescribeDenial } from "../http/denial-detail.js";
import { kindFound, timeFound } from "../http/denial-detail.js";

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
  /** The claim that the cause is about, with the expected and the found kind. */
  readonly detail?: DescribeDenial | undefined;
}

export function refuseToken(cause: string, detail?: DescribeDenial): TokenRefusal {
  return detail === undefined ? { code: "token_invalid", cause } : { code: "token_invalid", cause, detail };
}

/** A refusal by the clock of this process. */
export function untimelyToken(cause: string, detail?: DescribeDenial): TokenRefusal {
  return detail === undefined ? { code: "token_untimely", cause } : { code: "token_untimely", cause, detail };
}

/** A refusal for the value of a claim, of which logs get the kind. */
export function refuseClaim(cause: string, claim: string, value: unknown, expected: string): TokenRefusal {
  return refuseToken(cause, () => ({ claim, expected, found: kindFound(value) }));
}

/** A refusal for a time of a token, of which logs get the distance from now. */
export function refuseTime(
  cause: string,
  claim: "exp" | "nbf" | "iat",
  { [claim]: time }: Readonly<Record<string, unknown>>,
  expected: string,
  nowSeconds: number,
): TokenRefusal {
  return untimelyToken(cause, () => ({ claim, expected, found: timeFound(time, nowSeconds) }));
}
