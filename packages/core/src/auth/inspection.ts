import { decodeJwt, decodeProtectedHeader } from "jose";
import { kindFound, namesFound, quotedList, textFound, timeFound } from "../http/denial-detail.js";
import { claimAt, showClaim } from "./identifying-claim.js";
import { KeysUnavailable, fixedSource } from "./keys/key-source.js";
import type { KeySource } from "./keys/key-source.js";
import type { TokenRefusal } from "./token-refusal.js";
import type { IssuerVerifier, IssuerVerifierOptions, VerifiedToken, Verifier } from "./verifier.js";

/** A claim of a token, or a parameter of its header, beside what the options accept. */
export interface InspectedClaim {
  readonly name: string;
  /** The accepted values, as the options say them, or their kind. */
  readonly expected: string;
  /** The kind of the value; the value itself for names of services, algorithms and keys, and the distance for times. */
  readonly found: string;
}

/** The result of an inspection. */
export interface TokenInspection {
  readonly outcome: VerifiedToken | TokenRefusal;
  /** Would a request fetch keys before it decides? Then the outcome is only that of the keys that are here. */
  readonly needsKeys: boolean;
}

/** A parsed token, whose signature nobody has verified. */
interface UnverifiedToken {
  readonly header: Readonly<Record<string, unknown>>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Verifies a token as a request does, by the keys that are here. It fetches nothing, and keeps neither token nor keys. */
export async function inspectToken(verifier: Verifier, token: string): Promise<TokenInspection> {
  let needsKeys = false;

  function refuse(): never {
    needsKeys = true;
    throw new KeysUnavailable("no loaded key fits the token; a request would fetch the keys of its issuer first");
  }

  function keysOf(one: IssuerVerifier, issuer: string | undefined): KeySource {
    const { options } = one;
    const keys = options.knownKeysOf === undefined ? options.keysOf(issuer) : options.knownKeysOf(issuer);
    if (keys === undefined) return fixedSource(refuse);
    if (keys.known === undefined) return keys;
    return fixedSource(async (header) => (await keys.known?.(header)) ?? refuse());
  }

  const outcome = await verifier.inspect(token, keysOf);
  return { outcome, needsKeys };
}

/** The thumbprint of the key that an unverified token says it is bound to; undefined for none, and for null. */
export function readBoundKey(token: string): unknown {
  const cnf = parse(token)?.claims.cnf;
  return typeof cnf === "object" && cnf !== null ? ((cnf as { jkt?: unknown }).jkt ?? undefined) : undefined;
}

/** The claims that decide about a token, also if its signature is wrong. Empty for a text that is not a JWT. */
export function inspectClaims(verifier: Verifier, token: string, nowSeconds: number): readonly InspectedClaim[] {
  const parsed = parse(token);
  const chosen = verifier.chosenFor(token)?.options;
  if (parsed === undefined || chosen === undefined) return parsed === undefined ? [] : [issuerOf(parsed)];
  const { header, claims } = parsed;
  return [
    { name: "alg", expected: quotedList(chosen.algorithms), found: textFound(header.alg) },
    { name: "kid", expected: "the kid of a key of the issuer, or none", found: textFound(header.kid) },
    {
      name: "typ",
      expected: chosen.rules.strict === true ? '"at+jwt"' : '"JWT", "at+jwt" or none',
      found: textFound(header.typ),
    },
    { ...issuerOf(parsed), expected: expectedIssuer(chosen) },
    audienceOf(claims, chosen),
    { name: "exp", expected: "a time in the future", found: timeFound(claims.exp, nowSeconds) },
    { name: "nbf", expected: "a time in the past, or none", found: timeFound(claims.nbf, nowSeconds) },
    { name: "iat", expected: expectedIssueTime(chosen), found: timeFound(claims.iat, nowSeconds) },
    ...requiredNames(chosen).map((name) => ({
      name: showClaim(name),
      expected:
        name === "sub" || chosen.rules.subjectClaims?.includes(name) === true ? "text that names the user" : "a value",
      found: kindFound(claimAt(claims, name)),
    })),
    ...(claims.cnf === undefined
      ? []
      : [{ name: "cnf", expected: "a proof that the options allow", found: kindFound(claims.cnf) }]),
  ];
}

function issuerOf({ claims }: UnverifiedToken): InspectedClaim {
  return { name: "iss", expected: "an issuer of this gate", found: namesFound(claims.iss) };
}

function expectedIssuer({ issuer }: IssuerVerifierOptions): string {
  if (issuer === undefined) return "any";
  return typeof issuer === "function" ? "an issuer that the function auth.issuer accepts" : quotedList(issuer);
}

function audienceOf(claims: UnverifiedToken["claims"], { audience }: IssuerVerifierOptions): InspectedClaim {
  if (audience === false) return { name: "aud", expected: "any", found: namesFound(claims.aud) };
  return "claim" in audience
    ? {
        name: showClaim(audience.claim),
        expected: quotedList(audience.values),
        found: namesFound(claimAt(claims, audience.claim)),
      }
    : { name: "aud", expected: quotedList(audience), found: namesFound(claims.aud) };
}

function expectedIssueTime({ rules: { maxTokenAgeSeconds, maxLifetimeSeconds } }: IssuerVerifierOptions): string {
  return maxTokenAgeSeconds === undefined
    ? `at most ${maxLifetimeSeconds} s before exp, or none`
    : `at most ${maxTokenAgeSeconds} s ago`;
}

/** The claims that name user, session and token, and those that the options require. */
function requiredNames({ rules, requiredClaims }: IssuerVerifierOptions): readonly string[] {
  const named = [...(rules.subjectClaims ?? ["sub"]), "sid", "jti", ...requiredClaims];
  return [...new Set(named)].filter((name) => !["iss", "aud", "exp", "nbf", "iat", "cnf"].includes(name));
}

function parse(token: string): UnverifiedToken | undefined {
  try {
    return { header: { ...decodeProtectedHeader(token) }, claims: decodeJwt(token) };
  } catch {
    return undefined;
  }
}
