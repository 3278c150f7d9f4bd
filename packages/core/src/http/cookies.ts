import { optionError } from "../lib/validate.js";

/** The values of a cookie in a `Cookie` field, without empty ones. Quotes around a value do not belong to it. */
export function findCookies(header: string | undefined, name: string): string[] {
  const found: string[] = [];
  for (const pair of header?.split(";") ?? []) {
    const equals = pair.indexOf("=");
    if (equals === -1 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair
      .slice(equals + 1)
      .trim()
      .replace(/^"(.*)"$/, "$1");
    if (value !== "") found.push(value);
  }
  return found;
}

export interface CookieAttributes {
  readonly path: string;
  /** Undefined for a cookie that ends with the browser. */
  readonly maxAgeSeconds: number | undefined;
  readonly sameSite: "Strict" | "Lax" | "None";
  readonly secure: boolean;
  /** The domain whose hosts get the cookie. @default the host that sets it alone */
  readonly domain?: string | undefined;
  /** Has each top-level site a cookie of its own? @default false */
  readonly partitioned?: boolean | undefined;
}

/** The value of a `Set-Cookie` field (RFC 6265 4.1). Always HttpOnly. */
export function serializeCookie(name: string, value: string, attributes: CookieAttributes): string {
  const { path, maxAgeSeconds, sameSite, secure, domain, partitioned = false } = attributes;
  return [
    `${name}=${value}`,
    `Path=${path}`,
    ...(domain === undefined ? [] : [`Domain=${domain}`]),
    ...(maxAgeSeconds === undefined ? [] : [`Max-Age=${Math.max(0, Math.floor(maxAgeSeconds))}`]),
    "HttpOnly",
    ...(secure ? ["Secure"] : []),
    `SameSite=${sameSite}`,
    ...(partitioned ? ["Partitioned"] : []),
  ].join("; ");
}

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
/** At least two labels; the last one has a letter, which an IP address does not have. */
const domainName = new RegExp(`^(?=.{1,253}$)(?:${label}\\.)+(?![0-9]+$)${label}$`);

/** Requires the value of the attribute Domain. Browsers ignore a leading dot (RFC 6265 5.2.3), which hides what it means. */
export function checkCookieDomain(option: string, domain: unknown): asserts domain is string {
  if (typeof domain !== "string" || !domainName.test(domain))
    throw optionError(option, 'must be a domain in lower case without a leading dot, such as "example.com"');
}

/** Requires a name (RFC 6265 4.1.1) whose prefix promises no more than the attributes keep (RFC 6265bis 4.1.3). */
export function checkCookieName(
  option: string,
  name: unknown,
  { secure, path, domain }: Pick<CookieAttributes, "secure" | "path" | "domain">,
): asserts name is string {
  if (typeof name !== "string" || !/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name))
    throw optionError(option, 'must be the name of a cookie, such as "__Host-access"');
  if (!secure && /^__(host|secure|http)-/i.test(name))
    throw optionError(option, "must not begin with __Host-, __Secure- or __Http- without secure");
  if (/^__host-/i.test(name) && path !== "/")
    throw optionError(option, "begins with __Host-, which needs the path /; use __Secure-");
  if (/^__host-/i.test(name) && domain !== undefined)
    throw optionError(option, "begins with __Host-, which forbids a domain; use __Secure-");
}
