import { checkCookieName, findCookies, serializeCookie } from "../http/cookies.js";
import { checkBoolean, checkObject, checkOneOf, optionError } from "../lib/validate.js";
import type { IssuedTokens } from "./issue-request.js";

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
  if (access !== false) checkCookieName(`${option}.access`, access, { secure, path: "/" });
  checkCookieName(`${option}.refresh`, refresh, { secure, path: refreshPath });
  if (access === refresh) throw optionError(`${option}.refresh`, "must not be the name of the access cookie");
  return { access: access === false ? undefined : access, refresh, refreshPath, sameSite: sameSites[sameSite], secure };
}

/** Tokens in cookies, as text for `Set-Cookie` (RFC 6265): HttpOnly, Secure, SameSite, and no Domain, so that no other host gets them. */
export interface TokenCookies {
  /** The values of `Set-Cookie` that give a browser these tokens: `res.append("Set-Cookie", cookies.write(tokens))`. */
  write(tokens: IssuedTokens): string[];
  /** The values of `Set-Cookie` that take them away. */
  clear(): string[];
  /** The refresh token in a `Cookie` header, if there is exactly one. */
  readRefresh(header: string | undefined): string | undefined;
}

export function createTokenCookies(options: ResolvedCookies): TokenCookies {
  const { access, refresh, refreshPath, sameSite, secure } = options;

  function cookies(accessToken: string, expiresIn: number, refreshToken: string, refreshExpiresIn: number): string[] {
    const common = { sameSite, secure };
    const both = [
      serializeCookie(refresh, refreshToken, { ...common, path: refreshPath, maxAgeSeconds: refreshExpiresIn }),
    ];
    if (access !== undefined)
      both.unshift(serializeCookie(access, accessToken, { ...common, path: "/", maxAgeSeconds: expiresIn }));
    return both;
  }

  return {
    write: ({ accessToken, expiresIn, refreshToken, refreshExpiresIn }) =>
      cookies(accessToken, expiresIn, refreshToken, refreshExpiresIn),
    clear: () => cookies("", 0, "", 0),
    readRefresh(header) {
      const [token, ...others] = findCookies(header, refresh);
      return others.length === 0 ? token : undefined;
    },
  };
}
