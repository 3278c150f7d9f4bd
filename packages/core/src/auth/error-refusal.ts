import { decodeProtectedHeader, errors } from "jose";
import type { DenialDetail } from "../http/denial-detail.js";
import { kindFound, namesFound, quoted, quotedList, plainFound, timeFound } from "../http/denial-detail.js";
import { KeysUnavailable } from "./keys/key-source.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseToken, untimelyToken } from "./token-refusal.js";

/** The token that was refused, and the values that the options accept. */
export interface RefusedToken {
  readonly token: string;
  readonly algorithms: readonly string[];
  /** Undefined where any is accepted. */
  readonly issuers: readonly string[] | undefined;
  readonly audiences: readonly string[] | undefined;
  readonly toleranceSeconds: number;
  readonly nowSeconds: number;
}

/** The refusal for an error of jose, or of the source of keys. */
export function refusalOfError(error: unknown, refused: RefusedToken): TokenRefusal {
  if (error instanceof KeysUnavailable) {
    const { message: cause, reason } = error;
    const detail = (): DenialDetail => ({ reason });
    return { code: "keys_unavailable", cause, ...(reason === undefined ? {} : { detail }) };
  }
  const describe = (): DenialDetail => describeError(error, refused);
  if (isUntimely(error)) return untimelyToken(error.code, describe);
  // A weak key in a fetched set makes jose throw a TypeError: the token cannot be verified all the same.
  const refusal = refuseToken(
    error instanceof errors.JOSEError ? error.code : "the token cannot be verified",
    describe,
  );
  return error instanceof errors.JWTClaimValidationFailed ? { ...refusal, claim: error.claim } : refusal;
}

/** Did jose find the token expired or not valid yet? */
function isUntimely(error: unknown): error is errors.JOSEError {
  if (error instanceof errors.JWTExpired) return true;
  return error instanceof errors.JWTClaimValidationFailed && error.claim === "nbf" && error.reason === "check_failed";
}

/** The texts of jose's errors are fixed phrases, but for the name of a header parameter, which the sender of the token chose. */
function describeError(error: unknown, refused: RefusedToken): DenialDetail {
  if (error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed)
    return describeClaim(error, refused);
  const header = headerOf(refused.token);
  if (header === undefined) return { expected: "a JSON object as the header of the token", found: "another text" };
  const { alg, kid } = header;
  if (error instanceof errors.JOSEAlgNotAllowed)
    return { header: "alg", expected: quotedList(refused.algorithms), found: plainFound(alg) };
  if (error instanceof errors.JWKSNoMatchingKey)
    return { header: "kid", expected: "the kid of a key of the issuer", found: plainFound(kid) };
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return { expected: "a signature by a key of auth", found: `alg ${plainFound(alg)}, kid ${plainFound(kid)}` };
  const extension = error instanceof errors.JOSEError ? namedExtension.exec(error.message)?.[1] : undefined;
  if (extension !== undefined) return { header: "crit", expected: "none", found: plainFound(extension) };
  if (error instanceof errors.JOSEError || isWeakKey(error)) return { reason: quoted(error.message) };
  return {};
}

/** A parameter that `crit` names, and that jose does not know or does not find (RFC 7515 4.1.11). */
const namedExtension = /^Extension Header Parameter "(.*)" /s;

function describeClaim(
  { claim, reason, payload }: errors.JWTClaimValidationFailed | errors.JWTExpired,
  { issuers, audiences, toleranceSeconds, nowSeconds }: RefusedToken,
): DenialDetail {
  const value: unknown = payload[claim];
  if (claim === "iss" && issuers !== undefined)
    return { claim, expected: quotedList(issuers), found: namesFound(value) };
  if (claim === "aud" && audiences !== undefined)
    return { claim, expected: quotedList(audiences), found: namesFound(value) };
  if (reason !== "check_failed") {
    const isTime = ["exp", "nbf", "iat"].includes(claim);
    return { claim, expected: isTime ? "a number of seconds" : "a value", found: kindFound(value) };
  }
  if (claim === "exp") return { claim, expected: "a time in the future", found: timeFound(value, nowSeconds) };
  const expected = `at most ${toleranceSeconds} s in the future, by auth.clockTolerance`;
  return claim === "nbf"
    ? { claim, expected, found: timeFound(value, nowSeconds) }
    : { claim, found: kindFound(value) };
}

/** The header of a token, which nobody has verified; undefined for a text that is none. */
function headerOf(token: string): { readonly alg?: unknown; readonly kid?: unknown } | undefined {
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
}

function isWeakKey(error: unknown): error is TypeError {
  return error instanceof TypeError && /^[A-Z]{2}\d{3} requires /.test(error.message);
}
