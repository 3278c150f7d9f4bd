import type { ClaimPath } from "./identifying-claim.js";
import { resolveClaimPath, showClaim } from "./identifying-claim.js";
import type { ResolvedAuth } from "./options.js";
import { checkObject, checkString, optionError } from "../lib/validate.js";
import type { IssuerTest } from "./verifier.js";
import { isYes } from "./verifier.js";

/** A user as tokens name users: argument of `gate.principal()`. */
export interface NamedUser {
  /** Claim `iss` of the tokens. @default the only issuer, or `auth.sharedIssuer` */
  readonly issuer?: string | undefined;
  /** Value of the claim that names the user: text, also if it is a number in the token. */
  readonly subject: string;
  /** Claim that names the user: one of `auth.subjectClaim`. @default the first of them */
  readonly claim?: ClaimPath | undefined;
}

/** Returns the principal in the tokens of a user. Throws a TypeError for a user that no token can name. */
export function principalOf<Raw>({ issuers, scope }: ResolvedAuth<Raw>, user: NamedUser): string {
  checkObject("principal()", user, ["issuer", "subject", "claim"]);
  const { issuer = scope.main, subject } = user;
  const claim = user.claim === undefined ? undefined : resolveClaimPath("principal().claim", user.claim);
  checkString("principal().subject", subject);
  if (issuer !== undefined) checkString("principal().issuer", issuer);
  else if (scope.several)
    throw optionError("principal().issuer", "is required: there are several issuers, and none is auth.sharedIssuer");
  const accepting = issuers.find((one) => issuer === undefined || accepts(one.issuer, issuer));
  if (accepting === undefined)
    throw optionError("principal().issuer", "must be an issuer whose tokens this gate accepts");
  const { subjectClaims = ["sub"] } = accepting.rules;
  if (claim !== undefined && !subjectClaims.includes(claim))
    throw optionError(
      "principal().claim",
      `must be one of auth.subjectClaim: ${subjectClaims.map(showClaim).join(", ")}`,
    );
  return scope.principal(issuer, subject, claim === subjectClaims[0] ? undefined : claim);
}

function accepts(accepted: readonly string[] | IssuerTest | undefined, issuer: string): boolean {
  if (typeof accepted === "function") return isYes(accepted(issuer));
  return accepted === undefined || accepted.includes(issuer);
}
