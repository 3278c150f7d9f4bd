import { checkBoolean, checkObject, checkOneOf, optionError } from "../lib/validate.js";

/** The cookies that carry tokens to a browser. Always HttpOnly; Secure unless told otherwise. */
export interface CookieOptions {
  /** The cookie of the access token, as in `auth.tokenFrom`; `false` for none, where the page keeps it in memory. @default "__Host-access" */
  readonly access?: string | false | undefined;
  /** The cookie of the refresh token. @default "__Secure-refresh" */
  readonly refresh?: string | undefined;
  /** The path that the refresh token is sent to, and no other. @default "/auth" */
  readonly refreshPath?: string | undefined;
  /** @default "strict" */
  readonly sameSite?: "strict" | "lax" | "none" | undefined;
  /** `false` for development over http; then the names need not, and must not, begin with `__Host-` or `__Secure-`. @default true */
  readonly secure?: boolean | undefined;
}

export interface ResolvedCookies {
  readonly access: string | undefined;
  readonly refresh: string;
  readonly refreshPath: string;
  readonly sameSite: "Strict" | "Lax" | "None";
  readonly secure: boolean;
}

const sameSites = { strict: "Strict", lax: "Lax", none: "None" } as const;

export function resolveCookies(option: string, options: CookieOptions): ResolvedCookies {
  checkObject(option, options, ["access", "refresh", "refreshPath", "sameSite", "secure"]);
  const { secure = true, sameSite = "strict", refreshPath = "/auth" } = options;
  checkBoolean(`${option}.secure`, secure);
  const { access = secure ? "__Host-access" : "access", refresh = secure ? "__Secure-refresh" : "refresh" } = options;
  checkOneOf(`${option}.sameSite`, sameSite, ["strict", "lax", "none"]);
  if (!secure && sameSite === "none") throw optionError(`${option}.sameSite`, 'must not be "none" without secure');
  if (typeof refreshPath !== "string" || !/^\/[A-Za-z0-9._~/-]*$/.test(refreshPath))
    throw optionError(`${option}.refreshPath`, 'must be a path such as "/auth"');
  if (access !== false) checkName(`${option}.access`, access, secure, "/");
  checkName(`${option}.refresh`, refresh, secure, refreshPath);
  if (access === refresh) throw optionError(`${option}.refresh`, "must not be the name of the access cookie");
  return { access: access === false ? undefined : access, refresh, refreshPath, sameSite: sameSites[sameSite], secure };
}

/** A name (RFC 6265 4.1.1) whose prefix promises nothing that the cookie does not keep (RFC 6265bis 4.1.3). */
function checkName(option: string, name: unknown, secure: boolean, path: string): void {
  if (typeof name !== "string" || !/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name))
    throw optionError(option, 'must be a cookie name such as "__Host-access"');
  if (!secure && /^__(host|secure)-/i.test(name))
    throw optionError(option, "must not begin with __Host- or __Secure- without secure");
  if (/^__host-/i.test(name) && path !== "/")
    throw optionError(option, "begins with __Host-, which needs the path /; use __Secure-");
}
