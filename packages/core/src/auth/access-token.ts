import type { JWTHeaderParameters, JWTPayload } from "jose";
import type { SubjectRules } from "./claims.js";
import { isTime, refusalOfNames } from "./claims.js";
import { logoutEvent } from "./logout-token.js";

/** What a token must satisfy beyond what jose checks. */
export interface ClaimRules extends SubjectRules {
  /** Seconds of clock difference forgiven for `nbf` and `iat`. */
  readonly toleranceSeconds: number;
  /** Longest `exp - iat` in seconds; a cut-off must outlive every token. */
  readonly maxLifetimeSeconds: number;
  readonly requireJti: boolean;
  /** Longest time since `iat` in seconds; undefined for any. */
  readonly maxTokenAgeSeconds?: number | undefined;
  /** Only the profile for access tokens of RFC 9068? */
  readonly strict?: boolean | undefined;
  /** What may confirm that the sender is the one a token was issued to (RFC 7800). */
  readonly confirmation?: ConfirmationRules | undefined;
  /** Is `exp` exact? With revocation on, our records end with it, so the tolerance must not extend it. */
  readonly exactExpiry: boolean;
}

/** How senders may prove that a token is theirs; what nobody here can verify is refused. */
export interface ConfirmationRules {
  /** By a DPoP proof (RFC 9449). */
  readonly dpop: "off" | "optional" | "required";
  /** By a TLS client certificate (RFC 8705), which the proxy in front verifies. */
  readonly certificate: boolean;
}

const onlyBearer: ConfirmationRules = { dpop: "off", certificate: false };

/**
 * Why a token whose signature, `iss`, `aud`, `exp` and `nbf` jose accepted must still be refused, at whatever time; undefined
 * if it may pass. The reason is a fixed phrase for logs.
 */
export function refusalOfClaims(
  header: Readonly<JWTHeaderParameters>,
  claims: JWTPayload,
  rules: ClaimRules,
): string | undefined {
  const { exp = 0, iat, jti, cnf } = claims;
  const unnamed = refusalOfNames(claims, rules);
  if (unnamed !== undefined) return unnamed;
  if (iat !== undefined && !isTime(iat)) return "iat is not a time";
  if (iat !== undefined && exp - iat > rules.maxLifetimeSeconds) return lifetimeCause;
  if (jti === undefined && rules.requireJti) return "jti is missing, which auth.requireJti requires";
  if (rules.strict === true && !isStrict(header, claims))
    return "the token does not follow RFC 9068, which auth.strict requires";
  if (!isAccessTokenType(header.typ)) return "typ is not the type of an access token";
  if (header.b64 !== undefined) return "the header has the parameter b64, which tokens must not have";
  if (declaresOtherUse(claims) || declaresOtherUse(header)) return "the token declares another use than access token";
  // Logout tokens need have no typ.
  if (isObject(claims.events) && Object.hasOwn(claims.events, logoutEvent))
    return "the token is a logout token, not an access token";
  return refusalOfConfirmation(cnf, rules.confirmation ?? onlyBearer);
}

/** Why a token must be refused for the time it is when it is verified; {@link refusalOfTime} is asked again later. */
export function refusalOfFirstTime(claims: JWTPayload, rules: ClaimRules, nowSeconds: number): string | undefined {
  const { exp = 0, iat } = claims;
  if (iat !== undefined && iat > nowSeconds + rules.toleranceSeconds) return "iat is in the future";
  const untimely = refusalOfTime(claims, rules, nowSeconds);
  if (untimely !== undefined) return untimely;
  return iat === undefined && exp - nowSeconds > rules.maxLifetimeSeconds ? lifetimeCause : undefined;
}

const lifetimeCause = "the lifetime of the token exceeds auth.maxLifetime";

/**
 * A token that is bound to something nobody here verifies would be a Bearer token to whoever stole it. So each method that
 * is known must be proven, and one at least must be there; members that are not understood are ignored beside it
 * (RFC 7800 3.1), as are other names of a key that is proven.
 */
function refusalOfConfirmation(cnf: unknown, rules: ConfirmationRules): string | undefined {
  if (cnf === undefined)
    return rules.dpop === "required" ? "the token is not bound to a key, which auth.dpop.required requires" : undefined;
  if (!isObject(cnf)) return "cnf is not an object";
  const { jkt, "x5t#S256": certificate } = cnf as { readonly jkt?: unknown; readonly "x5t#S256"?: unknown };
  const asked = [
    ...(isAbsent(jkt) ? [] : [rules.dpop !== "off" && isThumbprint(jkt)]),
    ...(isAbsent(certificate) ? [] : [rules.certificate && isThumbprint(certificate)]),
  ];
  if (asked.length === 0 || asked.includes(false))
    return "cnf demands a proof that neither auth.dpop nor auth.certificateBound allows";
  return rules.dpop === "required" && isAbsent(jkt)
    ? "the token is not bound to a key, which auth.dpop.required requires"
    : undefined;
}

/**
 * Why a token must be refused for the time it is: what was true when it was verified is asked again at every request. One
 * that does not say when it was issued is too old, as far as anybody knows.
 */
export function refusalOfTime(
  { exp, nbf, iat }: JWTPayload,
  rules: ClaimRules,
  nowSeconds: number,
): string | undefined {
  const { toleranceSeconds, exactExpiry, maxTokenAgeSeconds } = rules;
  if (exp === undefined || exp <= nowSeconds - (exactExpiry ? 0 : toleranceSeconds)) return "the token is expired";
  if (nbf !== undefined && nbf > nowSeconds + toleranceSeconds) return "the token is not valid yet";
  if (maxTokenAgeSeconds !== undefined && (iat === undefined || nowSeconds - iat > maxTokenAgeSeconds))
    return "the token is older than auth.maxTokenAge";
  return undefined;
}

/** Some issuers write null for what they leave out. */
function isAbsent(member: unknown): boolean {
  return member === undefined || member === null;
}

/** SHA-256 in base64url. */
function isThumbprint(value: unknown): boolean {
  return typeof value === "string" && /^[A-Za-z0-9_-]{43}$/.test(value);
}

/** What an access token of RFC 9068 must have (2.1, 2.2); the values are checked like everybody's. */
function isStrict({ typ }: Readonly<JWTHeaderParameters>, claims: JWTPayload): boolean {
  const names = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"];
  return (
    /^(?:application\/)?at\+jwt$/i.test(typeof typ === "string" ? typ : "") &&
    names.every((name) => claims[name] !== undefined) &&
    claims.sub !== ""
  );
}

function isAccessTokenType(typ: unknown): boolean {
  if (typ === undefined) return true;
  return typeof typ === "string" && accessTokenTypes.has(typ.toLowerCase().replace(/^application\//, ""));
}

/** JOSE header types of access tokens (RFC 7519, RFC 9068); others are proofs, logout tokens, refresh tokens. */
const accessTokenTypes = new Set(["jwt", "at+jwt"]);

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Tells access tokens from the other tokens of an issuer, by what those say of themselves: Keycloak's `typ`, Cognito's
// `token_use`, `token_type` of djangorestframework-simplejwt, `type` of Flask-JWT-Extended, Casdoor's `tokenType`, `use`.
// It is a closed list, since applications write words of their own (`"customer"`, `"app"`) into claims of these names.

/** Names of claims and of header parameters, without regard to case, hyphens and underscores. */
const declaringNames: ReadonlySet<string> = new Set(["typ", "type", "tokentype", "tokenuse", "use"]);
const maxNameLength = Math.max(...[...declaringNames].map((name) => name.length)) + 2;

/**
 * Links in mails and messages: whoever has the mailbox may do this one thing. ASP.NET Identity says `ResetPassword` and
 * `EmailConfirmation`, Devise `confirmation` and `unlock`, Supabase `recovery` and `invite`, recipes `forgot_password`.
 */
const linkWords = [
  ...["reset", "verify", "verification", "registration", "recover", "recovery", "confirm", "confirmation"],
  ...["activate", "activation", "unlock", "invite", "invitation", "signup", "unsubscribe"],
];
/** What means a link only together with its target: alone, these are words of any business. */
const changeWords = ["change", "update", "set", "forgot", "forgotten"];
const linkTargets = ["account", "credentials", "email", "emailaddress", "mail", "password", "phone", "phonenumber"];
/** Keycloak's own: required actions, the link to another provider's account, the invitation to an organisation. */
const keycloakLinks = ["executeactions", "idpverifyaccountviaemail", "orgivt"];

/** A sign-in by a link or a code that has yet to be exchanged for tokens. */
const signInWords = ["magic", "magiclink", "loginlink", "signinlink", "passwordless", "otp", "onetimepassword"];

/**
 * Between the password and the second factor: to accept it is to do without the second factor. Auth0's `mfa_token` is one. A
 * token after the second factor says so in `amr` or `acr`, or with a word such as `mfa_verified`, which passes.
 */
const factors = ["mfa", "2fa", "twofa", "totp", "twofactor", "multifactor", "secondfactor"];
const factorStages = [
  ...["", "auth", "authentication", "login", "pending", "required", "challenge", "verify", "verification"],
  ...["setup", "enroll", "enrollment"],
];

/** What the flows of OAuth and OpenID Connect pass around before there is a token, and what guards a form. */
const flowWords = [
  ...["authcode", "authorizationcode", "devicecode", "clientassertion", "requestobject", "idjag"],
  ...["preauth", "preauthentication", "prelogin", "csrf", "xsrf"],
];

/** Words as {@link plainWord} makes them. */
const otherUses: ReadonlySet<string> = new Set([
  // For the issuer: they give new tokens, or say who signed in or out.
  ...["refresh", "rt", "offline", "id", "serializedid", "logout", "backchannellogout"],
  // To register clients (RFC 7591, RFC 7592).
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
 * A media type of its own says what a JWT is for (RFC 8725 3.11): `dpop+jwt`, `logout+jwt`, `secevent+jwt`, `kb+jwt`,
 * `entity-statement+jwt`, `vc+sd-jwt`. That of access tokens is `at+jwt`; nobody writes a word of a business so.
 */
const mediaType = /\+(?:sd-)?jwt$/;
const accessTokenWords: ReadonlySet<string> = new Set(["at", "access"]);

/** Does one of these claims or header parameters say that the token is something else than an access token? */
export function declaresOtherUse(members: object): boolean {
  for (const [name, value] of Object.entries(members)) {
    if (name.length > maxNameLength || !declaringNames.has(withoutSeparators(name))) continue;
    const words: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (words.some((word) => typeof word === "string" && saysOtherUse(word))) return true;
  }
  return false;
}

function saysOtherUse(text: string): boolean {
  if (text.length > maxWordLength) return false;
  const bare = text.trim().toLowerCase();
  const word = plainWord(bare);
  return otherUses.has(word) || (mediaType.test(bare) && !accessTokenWords.has(word));
}

/** `refresh_token`, `Refresh Token`, `rt+jwt` and the URIs of RFC 8693 3 without case, separators, and "token" or "jwt". */
function plainWord(text: string): string {
  const bare = text.replace(/^(?:application\/|urn:ietf:params:oauth:token-type:)/, "");
  return withoutSeparators(bare).replace(/^(?:token|jwt)(?=.)|(?:token|jwt)+$/g, "");
}

const maxWordLength = 100;

function withoutSeparators(text: string): string {
  return text.toLowerCase().replace(/[-_\s+.:/]/g, "");
}

/** `resetpassword` and `passwordreset`. */
function inBothOrders(words: readonly string[], targets: readonly string[]): string[] {
  return words.flatMap((word) => targets.flatMap((target) => [word + target, target + word]));
}
