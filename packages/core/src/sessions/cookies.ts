import { checkCookieName, findCookies, serializeCookie } from "../http/cookies.js";
import { checkBoolean, checkObject, checkOneOf, optionError } from "../lib/validate.js";
import type { IssuedTokens } from "./issue-request.js";

/** Names and attributes of the cookies that carry tokens to a browser. The cookies are always HttpOnly. */
export interface CookieOptions {
  /** Name of the access-token cookie, as in `auth.tokenFrom`. `false`: no cookie, the page keeps the token in memory. @default "__Host-access" */
  readonly access?: string | false | undefined;
  /** Name of the refresh-token cookie. @default "__Secure-refresh" */
  readonly refresh?: string | undefined;
  /** Path of the refresh-token cookie: browsers send it to this path only. @default "/auth" */
  readonly refreshPath?: string | undefined;
  /** The attribute SameSite. @default "strict" */
  readonly sameSite?: "strict" | "lax" | "none" | undefined;
  /** The attribute Secure. `false` is for development over http: names must then not begin with `__Host-` or `__Secure-`. @default true */
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

/** Tokens as cookies (RFC 6265): HttpOnly, Secure, SameSite, and without Domain, so that no other host gets them. */
export interface TokenCookies {
  /** Values of `Set-Cookie` that store the tokens in the browser: `res.append("Set-Cookie", cookies.write(tokens))`. */
  write(tokens: IssuedTokens): string[];
  /** Values of `Set-Cookie` that delete both cookies. */
  clear(): string[];
  /** The refresh token of a `Cookie` header. Undefined if there is none, or more than one. */
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
