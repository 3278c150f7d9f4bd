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
  readonly maxAgeSeconds: number;
  readonly sameSite: "Strict" | "Lax" | "None";
  readonly secure: boolean;
}

/** The value of a `Set-Cookie` field (RFC 6265 4.1). Always HttpOnly; without Domain, so that no other host gets the cookie. */
export function serializeCookie(name: string, value: string, attributes: CookieAttributes): string {
  const { path, maxAgeSeconds, sameSite, secure } = attributes;
  const age = Math.max(0, Math.floor(maxAgeSeconds));
  return `${name}=${value}; Path=${path}; Max-Age=${age}; HttpOnly${secure ? "; Secure" : ""}; SameSite=${sameSite}`;
}

/** Requires a name (RFC 6265 4.1.1) whose prefix promises no more than the attributes keep (RFC 6265bis 4.1.3). */
export function checkCookieName(
  option: string,
  name: unknown,
  { secure, path }: Pick<CookieAttributes, "secure" | "path">,
): asserts name is string {
  if (typeof name !== "string" || !/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name))
    throw optionError(option, 'must be the name of a cookie, such as "__Host-access"');
  if (!secure && /^__(host|secure)-/i.test(name))
    throw optionError(option, "must not begin with __Host- or __Secure- without secure");
  if (/^__host-/i.test(name) && path !== "/")
    throw optionError(option, "begins with __Host-, which needs the path /; use __Secure-");
}
