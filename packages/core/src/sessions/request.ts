import { identifyingClaim, unfit } from "../auth/identifying-claim.js";
import { declaresOtherUse } from "../auth/access-token.js";

/** Where a session was started, for its user to recognise it by. */
export interface Device {
  /** The client's address, such as `req.ip`. */
  readonly ip?: string | undefined;
  /** The User-Agent of the request. */
  readonly userAgent?: string | undefined;
  /** A name, such as "Alice's phone". */
  readonly label?: string | undefined;
}

/** What the access tokens of a session say. */
export interface Grant {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly scopes: readonly string[];
}

/** Characters of what a client says of itself that are kept; more is cut off. */
const longest = { ip: 64, userAgent: 512, label: 128 } as const;

/** Bytes of claims and scopes together: every request carries them. */
const largestGrant = 4096;

/** What only the gate may say of a token. */
const reserved = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope", "scp", "token_use", "typ"];

/** A non-empty text of up to 512 bytes that is well-formed: what a subject or an organisation is named by. */
export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name !== "string" || name === "") throw new TypeError(`${what} must be a non-empty string`);
  if (!name.isWellFormed() || Buffer.byteLength(name) > 512)
    throw new TypeError(`${what} must be well-formed text of at most 512 bytes`);
}

/** Could a subject, an organisation or a session have this name? */
export function isName(name: unknown): name is string {
  return typeof name === "string" && name !== "" && name.isWellFormed() && Buffer.byteLength(name) <= 512;
}

/** An attempt of `throttleLogin()`, or a stand-in for one. */
export function checkAttempt(attempt: unknown): void {
  const { succeed, interrupt } = (attempt ?? {}) as { succeed?: unknown; interrupt?: unknown };
  if (typeof succeed !== "function" || typeof interrupt !== "function")
    throw new TypeError("attempt must be the loginAttempt of the request, which throttleLogin() has put there");
}

export function readDevice(device: unknown): Device {
  if (device === undefined) return {};
  if (typeof device !== "object" || device === null) throw new TypeError("device must be an object");
  const { ip, userAgent, label } = device as Record<keyof Device, unknown>;
  return {
    ...readText("ip", ip),
    ...readText("userAgent", userAgent),
    ...readText("label", label),
  };
}

function readText(name: keyof Device, text: unknown): Device {
  if (text === undefined || text === "") return {};
  if (typeof text !== "string") throw new TypeError(`device.${name} must be a string`);
  return { [name]: text.slice(0, longest[name]).toWellFormed() };
}

/** Claims that say whose a token is. */
export interface IdentifyingClaims {
  /** The claim that names the organisation. */
  readonly orgClaim: string;
  /** The claim that names the tenant of caches; undefined for none. */
  readonly tenantClaim: string | undefined;
}

/** Claims and scopes as they are kept, as JSON. */
export function readGrant(claims: unknown, scopes: unknown, { orgClaim, tenantClaim }: IdentifyingClaims): string {
  if (typeof claims !== "object" || claims === null || Array.isArray(claims))
    throw new TypeError("claims must be an object");
  const given = claims as Readonly<Record<string, unknown>>;
  const taken = Object.keys(claims).find((name) => [...reserved, orgClaim].includes(name));
  // The organisation may be a member of another claim, as "org.id".
  const isTaken = taken !== undefined || identifyingClaim(given, orgClaim) !== undefined;
  if (isTaken) throw new TypeError(`claims must not have "${taken ?? orgClaim}", which is said by other means`);
  if (declaresOtherUse(given))
    throw new TypeError(
      "claims must not say that the token is something else than an access token: it would be refused",
    );
  if (tenantClaim !== undefined && identifyingClaim(given, tenantClaim) === unfit)
    throw new TypeError(
      `claims must have a non-empty string or a safe integer as "${tenantClaim}" (cache.tenantClaim), or none: the token would be refused`,
    );
  if (!Array.isArray(scopes) || !scopes.every(isScope))
    throw new TypeError("scopes must be a list of scopes without blanks (RFC 6749 3.3)");
  const grant = JSON.stringify({ claims: given, scopes } satisfies Grant);
  if (Buffer.byteLength(grant) > largestGrant)
    throw new TypeError(`claims and scopes must not have more than ${largestGrant} bytes together`);
  return grant;
}

function isScope(scope: unknown): boolean {
  return typeof scope === "string" && /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(scope);
}

/** The claims of an access token that come of its grant. */
export function claimsOfGrant(grant: string): { claims: Record<string, unknown>; scopes: readonly string[] } {
  const { claims, scopes } = JSON.parse(grant) as Grant;
  return { claims: { ...claims, ...(scopes.length === 0 ? {} : { scope: scopes.join(" ") }) }, scopes };
}
