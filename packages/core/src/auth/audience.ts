import { namesFound, quotedList } from "../http/denial-detail.js";
import type { Auth } from "./claims.js";
import { values } from "./claims.js";
import { claimAt, showClaim } from "./identifying-claim.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseToken } from "./token-refusal.js";

/** The expected audience: values of `aud`, or of another claim, or any. */
export type Audience = readonly string[] | false | { readonly claim: string; readonly values: readonly string[] };

/** Some providers put the audience in another claim than `aud`, such as Amazon Cognito in `client_id`. */
export function refusalOfAudience(claims: Auth["claims"], audience: Audience): TokenRefusal | undefined {
  if (audience === false || !("claim" in audience)) return undefined;
  const value = claimAt(claims, audience.claim);
  if (values(value).some((one) => audience.values.includes(one))) return undefined;
  return refuseToken("the token is for another audience", () => ({
    claim: showClaim(audience.claim),
    expected: quotedList(audience.values),
    found: namesFound(value),
  }));
}
