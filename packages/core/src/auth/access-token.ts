import type { JWTHeaderParameters, JWTPayload } from "jose";
import type { DenialDetail } from "../http/denial-detail.js";
import { kindFound, quoted, textFound } from "../http/denial-detail.js";
import type { SubjectRules } from "./claims.js";
import { isTime, refusalOfNames } from "./claims.js";
import { logoutEvent } from "./logout-token.js";
import type { TokenRefusal } from "./token-refusal.js";
import { refuseClaim, refuseTime, refuseToken } from "./token-refusal.js";

/** Rules for access tokens beyond the checks of jose. */
export interface ClaimRules extends SubjectRules {
  /** Tolerated clock difference for `nbf` and `iat`, in seconds. */
  readonly toleranceSeconds: number;
  /** Maximum `exp - iat` in seconds; a cut-off must outlive every token. */
  readonly maxLifetimeSeconds: number;
  readonly requireJti: boolean;
  /** Maximum time since `iat` in seconds; undefined for any. */
  readonly maxTokenAgeSeconds?: number | undefined;
  /** Must tokens follow RFC 9068? */
  readonly strict?: boolean | undefined;
  /** Accepted proofs that the sender owns the token (RFC 7800). @default none */
  readonly confirmation?: ConfirmationRules | undefined;
  /** Is `exp` exact? With revocation on, records of revoked tokens end with `exp`, so the tolerance must not extend it. */
  readonly exactExpiry: boolean;
}

/** Accepted proofs that the sender owns the token. A token that needs another proof is refused. */
export interface ConfirmationRules {
  /** By a DPoP proof (RFC 9449). */
  readonly dpop: "off" | "optional" | "required";
  /** By a TLS client certificate (RFC 8705), which the proxy in front verifies. */
  readonly certificate: boolean;
  /** Are tokens refused that are bound to no certificate? @default false */
  readonly certificateRequired?: boolean | undefined;
}

const onlyBearer: ConfirmationRules = { dpop: "off", certificate: false };

/**
 * Checks header and claims of a token after jose checked signature, `iss`, `aud`, `exp` and `nbf`. Does not depend on the time.
 * Returns a refusal, whose cause is a fixed phrase for logs; undefined for none.
 */
export function refusalOfClaims(
  header: Readonly<JWTHeaderParameters>,
  claims: JWTPayload,
  rules: ClaimRules,
): TokenRefusal | undefined {
  const { exp = 0, iat, jti, cnf } = claims;
  const unnamed = refusalOfNames(claims, rules);
  if (unnamed !== undefined) return unnamed;
  if (iat !== undefined && !isTime(iat)) return refuseClaim("iat is not a time", "iat", iat, "a number of seconds");
  if (iat !== undefined && exp - iat > rules.maxLifetimeSeconds) return refuseLifetime(exp - iat, "iat", rules);
  if (jti === undefined && rules.requireJti)
    return refuseClaim("jti is missing, which auth.requireJti requires", "jti", jti, "text");
  const unlike = rules.strict === true ? findNotStrict(header, claims) : undefined;
  if (unlike !== undefined)
    return refuseToken("the token does not follow RFC 9068, which auth.strict requires", () => unlike);
  if (!isAccessTokenType(header.typ))
    return refuseToken("typ is not the type of an access token", () => describeType(header.typ));
  if (header.b64 !== undefined)
    return refuseToken("the header has the parameter b64, which tokens must not have", () => ({ header: "b64" }));
  const declared = findOtherUse(claims) ?? findOtherUse(header);
  if (declared !== undefined)
    return refuseToken("the token declares another use than access token", () => ({
      [declared.holder === header ? "header" : "claim"]: quoted(declared.name).slice(1, -1),
      found: quoted(declared.word),
    }));
  // Logout tokens may lack typ.
  if (isObject(claims.events) && Object.hasOwn(claims.events, logoutEvent))
    return refuseToken("the token is a logout token, not an access token", () => ({ claim: "events" }));
  return refusalOfConfirmation(cnf, rules.confirmation ?? onlyBearer);
}

function describeType(typ: unknown): { header: string; expected: string; found: string } {
  return { header: "typ", expected: '"at+jwt" or "JWT"', found: textFound(typ) };
}

/** Checks the times of a new token. Returns a refusal by the clock of this process. */
export function refusalOfFirstTime(
  claims: JWTPayload,
  rules: ClaimRules,
  nowSeconds: number,
): TokenRefusal | undefined {
  const { exp = 0, iat } = claims;
  if (iat !== undefined && iat > nowSeconds + rules.toleranceSeconds)
    return refuseTime("iat is in the future", "iat", claims, toleratedFuture(rules), nowSeconds);
  const untimely = refusalOfTime(claims, rules, nowSeconds);
  if (untimely !== undefined) return untimely;
  return iat === undefined && exp - nowSeconds > rules.maxLifetimeSeconds
    ? { ...refuseLifetime(exp - nowSeconds, "now", rules), code: "token_untimely" }
    : undefined;
}

function toleratedFuture({ toleranceSeconds }: ClaimRules): string {
  return `at most ${toleranceSeconds} s in the future, by auth.clockTolerance`;
}

function refuseLifetime(seconds: number, since: "iat" | "now", { maxLifetimeSeconds }: ClaimRules): TokenRefusal {
  return refuseToken("the lifetime of the token exceeds auth.maxLifetime", () => ({
    claim: "exp",
    expected: `at most ${maxLifetimeSeconds} s after ${since}`,
    found: `${Math.round(seconds)} s after ${since}`,
  }));
}

/**
 * Checks `cnf`. A token bound by a method that the gate cannot verify would be a Bearer token to a thief. So every known method
 * must be enabled, and at least one known method must be present; unknown members beside it are ignored (RFC 7800 3.1).
 */
function refusalOfConfirmation(cnf: unknown, rules: ConfirmationRules): TokenRefusal | undefined {
  if (cnf === undefined) return refusalOfUnbound(undefined, undefined, rules);
  if (!isObject(cnf)) return refuseClaim("cnf is not an object", "cnf", cnf, "an object");
  const { jkt, "x5t#S256": certificate } = cnf as { readonly jkt?: unknown; readonly "x5t#S256"?: unknown };
  const asked = [
    ...(isAbsent(jkt) ? [] : [rules.dpop !== "off" && isThumbprint(jkt)]),
    ...(isAbsent(certificate) ? [] : [rules.certificate && isThumbprint(certificate)]),
  ];
  if (asked.length === 0 || asked.includes(false))
    return refuseToken("cnf demands a proof that neither auth.dpop nor auth.certificateBound allows", () => ({
      claim: "cnf",
      expected: methods(rules.dpop !== "off", rules.certificate) || "no cnf",
      found: methods(!isAbsent(jkt), !isAbsent(certificate)) || "another method",
    }));
  return refusalOfUnbound(jkt, certificate, rules);
}

function methods(key: boolean, certificate: boolean): string {
  return [...(key ? ["jkt"] : []), ...(certificate ? ["x5t#S256"] : [])].join(" and ");
}

function refusalOfUnbound(jkt: unknown, certificate: unknown, rules: ConfirmationRules): TokenRefusal | undefined {
  if (rules.dpop === "required" && isAbsent(jkt))
    return refuseClaim("the token is not bound to a key, which auth.dpop.required requires", "cnf.jkt", jkt, "text");
  return rules.certificateRequired === true && isAbsent(certificate)
    ? refuseClaim(
        "the token is not bound to a certificate, which auth.certificateBound.required requires",
        "cnf.x5t#S256",
        certificate,
        "text",
      )
    : undefined;
}

/**
 * Checks the times of a token; called again at every request. Returns a refusal by the clock of this process. With
 * `maxTokenAge`, a token without `iat` counts as too old.
 */
export function refusalOfTime(claims: JWTPayload, rules: ClaimRules, nowSeconds: number): TokenRefusal | undefined {
  const { exp, nbf, iat } = claims;
  const { toleranceSeconds, exactExpiry, maxTokenAgeSeconds } = rules;
  if (exp === undefined || exp <= nowSeconds - (exactExpiry ? 0 : toleranceSeconds))
    return refuseTime("the token is expired", "exp", claims, "a time in the future", nowSeconds);
  if (nbf !== undefined && nbf > nowSeconds + toleranceSeconds)
    return refuseTime("the token is not valid yet", "nbf", claims, toleratedFuture(rules), nowSeconds);
  if (maxTokenAgeSeconds !== undefined && (iat === undefined || nowSeconds - iat > maxTokenAgeSeconds))
    return refuseTime(
      "the token is older than auth.maxTokenAge",
      "iat",
      claims,
      `at most ${maxTokenAgeSeconds} s ago`,
      nowSeconds,
    );
  return undefined;
}

/** The times from which and until which {@link refusalOfTime} certainly refuses nothing, in unix seconds. */
export function certainTimes({ exp, nbf, iat }: JWTPayload, rules: ClaimRules): { from: number; until: number } {
  const { toleranceSeconds, exactExpiry, maxTokenAgeSeconds } = rules;
  const from = nbf === undefined ? Number.NEGATIVE_INFINITY : nbf - toleranceSeconds;
  const expiry = exp === undefined ? Number.NEGATIVE_INFINITY : exp + (exactExpiry ? 0 : toleranceSeconds);
  if (maxTokenAgeSeconds === undefined) return { from, until: expiry };
  return { from, until: iat === undefined ? Number.NEGATIVE_INFINITY : Math.min(expiry, iat + maxTokenAgeSeconds) };
}

/** Some issuers write null for an absent member. */
function isAbsent(member: unknown): boolean {
  return member === undefined || member === null;
}

/** SHA-256 in base64url. */
function isThumbprint(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9_-]{43}$/.test(value);
}

/** Finds the part of a token that differs from RFC 9068 2.1 and 2.2: its type, or a claim that is missing. */
function findNotStrict({ typ }: Readonly<JWTHeaderParameters>, claims: JWTPayload): DenialDetail | undefined {
  if (!/^(?:application\/)?at\+jwt$/i.test(typeof typ === "string" ? typ : ""))
    return { ...describeType(typ), expected: '"at+jwt"' };
  const names = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];
  const claim = names.find((name) => claims[name] === undefined) ?? (claims.sub === "" ? "sub" : undefined);
  return claim === undefined ? undefined : { claim, found: kindFound(claims[claim]) };
}

function isAccessTokenType(typ: unknown): boolean {
  if (typ === undefined) return true;
  return typeof typ === "string" && accessTokenTypes.has(typ.toLowerCase().replace(/^application\//, ""));
}

/** JOSE header types of access tokens (RFC 7519, RFC 9068). Other types are proofs, logout tokens or refresh tokens. */
const accessTokenTypes = new Set(["jwt", "at+jwt"]);

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Token use: other tokens of an issuer declare their use in a claim, such as `typ` (Keycloak), `token_use` (Cognito),
// `token_type` (djangorestframework-simplejwt), `type` (Flask-JWT-Extended), `tokenType` (Casdoor), `use`. The words are a
// closed list, since applications write words of their own (`"customer"`, `"app"`) into claims of these names.

/** Names of claims and header parameters that declare a use, in lower case, without hyphens and underscores. */
const declaringNames: ReadonlySet<string> = new Set(["typ", "type", "tokentype", "tokenuse", "use"]);
const maxNameLength = Math.max(...[...declaringNames].map((name) => name.length)) + 2;

/**
 * Tokens of links in mails and messages, which permit one action. Examples: `ResetPassword` and `EmailConfirmation` (ASP.NET
 * Identity), `confirmation` and `unlock` (Devise), `recovery` and `invite` (Supabase), `forgot_password` (recipes).
 */
const linkWords = [
  ...["reset", "verify", "verification", "registration", "recover", "recovery", "confirm", "confirmation"],
  ...["activate", "activation", "unlock", "invite", "invitation", "signup", "unsubscribe"],
];
/** Words that mean a link only together with a target; alone they are words of any business. */
const changeWords = ["change", "update", "set", "forgot", "forgotten"];
const linkTargets = ["account", "credentials", "email", "emailaddress", "mail", "password", "phone", "phonenumber"];
/** Words of Keycloak: required actions, the link to an account of another provider, the invitation to an organisation. */
const keycloakLinks = ["executeactions", "idpverifyaccountviaemail", "orgivt"];

/** A sign-in by a link or a code that must still be exchanged for tokens. */
const signInWords = ["magic", "magiclink", "loginlink", "signinlink", "passwordless", "otp", "onetimepassword"];

/**
 * Tokens between the password and the second factor, such as the `mfa_token` of Auth0. Accepting one would skip the second
 * factor. A token after the second factor says so in `amr` or `acr`, or with a word such as `mfa_verified`, which passes.
 */
const factors = ["mfa", "2fa", "twofa", "totp", "twofactor", "multifactor", "secondfactor"];
const factorStages = [
  ...["", "auth", "authentication", "login", "pending", "required", "challenge", "verify", "verification"],
  ...["setup", "enroll", "enrollment"],
];

/** Artefacts of OAuth and OpenID Connect flows before a token exists, and tokens that protect forms. */
const flowWords = [
  ...["authcode", "authorizationcode", "devicecode", "clientassertion", "requestobject", "idjag"],
  ...["preauth", "preauthentication", "prelogin", "csrf", "xsrf"],
];

/** Words as {@link plainWord} makes them. */
const otherUses: ReadonlySet<string> = new Set([
  // Tokens for the issuer: for new tokens, or about sign-in and logout.
  ...["refresh", "rt", "offline", "id", "serializedid", "logout", "backchannellogout"],
  // Tokens that register clients (RFC 7591, RFC 7592).
  ...["registrationaccess", "initialaccess", "clientregistration"],
  ...linkWords,
  ...inBothOrders(linkWords, [...linkTargets, "user"]),
  ...inBothOrders(changeWords, linkTargets),
  ...keycloakLinks,
  ...signInWords,
  ...factors.flatMap((factor) => factorStages.map((stage) => factor + stage)),
  ...flowWords,
]);

/**
 * A media type that declares the use of a JWT (RFC 8725 3.11): `dpop+jwt`, `logout+jwt`, `secevent+jwt`, `kb+jwt`,
 * `entity-statement+jwt`, `vc+sd-jwt`. The type of access tokens is `at+jwt`. Words of a business do not have this form.
 */
const mediaType = /\+(?:sd-)?jwt$/;
const accessTokenWords: ReadonlySet<string> = new Set(["at", "access"]);

interface DeclaredUse {
  readonly holder: object;
  readonly name: string;
  readonly word: string;
}

/** Finds a claim or header parameter that declares that the token is not an access token. */
export function findOtherUse(holder: object): DeclaredUse | undefined {
  for (const [name, value] of Object.entries(holder)) {
    if (name.length > maxNameLength || !declaringNames.has(withoutSeparators(name))) continue;
    const words: readonly unknown[] = Array.isArray(value) ? value : [value];
    const word = words.find((one): one is string => typeof one === "string" && saysOtherUse(one));
    if (word !== undefined) return { holder, name, word };
  }
  return undefined;
}

function saysOtherUse(text: string): boolean {
  if (text.length > maxWordLength) return false;
  const bare = text.trim().toLowerCase();
  const word = plainWord(bare);
  return otherUses.has(word) || (mediaType.test(bare) && !accessTokenWords.has(word));
}

/** Normalises `refresh_token`, `Refresh Token`, `rt+jwt` and the URIs of RFC 8693 3: no case, separators, "token" or "jwt". */
function plainWord(text: string): string {
  const bare = text.replace(/^(?:application\/|urn:ietf:params:oauth:token-type:)/, "");
  return withoutSeparators(bare).replace(/^(?:token|jwt)(?=.)|(?:token|jwt)+$/g, "");
}

const maxWordLength = 100;

function withoutSeparators(text: string): string {
  return text.toLowerCase().replace(/[-_\s+.:/]/g, "");
}

/** Both orders of a word and its target: `resetpassword` and `passwordreset`. */
function inBothOrders(words: readonly string[], targets: readonly string[]): string[] {
  return words.flatMap((word) => targets.flatMap((target) => [word + target, target + word]));
}

/** Three parts of base64url without padding: the compact form of RFC 7515 7.1. */
const compactJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Default maximum length of a token in characters. Longer tokens are refused without parsing, which could take long. */
export const maxCompactLength = 8192;

/** Does the text have the form of a compact JWS, and at most so many characters? */
export function isCompactJws(text: string, maxLength: number = maxCompactLength): boolean {
  return text.length <= maxLength && compactJws.test(text);
}

const paddedJws = /^[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}\.[A-Za-z0-9_-]+={0,2}$/;

/** The same, with each part padded by `=` to a multiple of four characters, as AWS load balancers write their tokens. */
export function isPaddedJws(text: string, maxLength: number = maxCompactLength): boolean {
  return text.length <= maxLength && paddedJws.test(text) && text.split(".").every((part) => part.length % 4 === 0);
}

/** Is the signature in canonical base64url? Spare bits at its end allow two spellings, which a cache would take for two tokens. */
export function isCanonical(compact: string): boolean {
  const signature = compact.slice(compact.lastIndexOf(".") + 1);
  return Buffer.from(signature, "base64url").toString("base64url") === signature;
}
