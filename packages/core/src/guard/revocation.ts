import type { VerifiedToken } from "../auth/verifier.js";
import type { DenialDetail } from "../http/denial-detail.js";
import type { Denied } from "../http/verdict.js";
import type { Challenges } from "./challenges.js";
import { schemeOf } from "./challenges.js";

/** The refusal of a revoked token, with the cut-off that revokes it, if it is one. */
export function refuseRevoked(challenges: Challenges, verified: VerifiedToken, cutoff: number | undefined): Denied {
  const { issuedAt } = verified.auth;
  const isInMargin = cutoff !== undefined && issuedAt !== undefined && Math.floor(issuedAt) > cutoff;
  const cause = isInMargin
    ? "the token is revoked: it was issued within revocation.cutoffMargin after a cut-off"
    : "the token is revoked";
  return challenges.tokenInvalid(cause, schemeOf(verified), () => describeRevocation(issuedAt, cutoff));
}

function describeRevocation(issuedAt: number | undefined, cutoff: number | undefined): DenialDetail {
  if (cutoff === undefined) return { reason: "a record of this token" };
  const reason = `a cut-off of ${timeText(cutoff)}`;
  if (issuedAt === undefined) return { claim: "iat", expected: "a time after the cut-off", found: "none", reason };
  const away = Math.round(issuedAt - cutoff);
  const found = `${Math.abs(away)} s ${away > 0 ? "after" : "before"} it`;
  return { claim: "iat", expected: "a time after the cut-off", found, reason };
}

/** A record may hold a number that is no date. */
function timeText(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s` : date.toISOString();
}
