import { checkCookieDomain, checkCookieName, findCookies, serializeCookie } from "../http/cookies.js";
import { checkBoolean, checkObject, checkOneOf, optionError } from "../lib/validate.js";
import type { IssuedTokens } from "./issue-request.js";

/** Names and attributes of the cookies that carry tokens to a browser. The cookies are always HttpOnly. */
export interface CookieOptions {
  /**
   * Name of the access-token cookie, as in `auth.tokenFrom`. `false`: no cookie, the page keeps the token in memory.
   * @default "__Host-access", with `domain` "__Secure-access"
   */
  readonly access?: string | false | undefined;
  /** Name of the refresh-token cookie. @default "__Secure-refresh" */
  readonly refresh?: string | undefined;
  /** Path of the refresh-token cookie: browsers send it to this path only. @default "/auth" */
  readonly refreshPath?: string | undefined;
  /** The attribute SameSite. @default "strict" */
  readonly sameSite?: "strict" | "lax" | "none" | undefined;
  /** The attribute Secure. `false` is for development over http: names must then not begin with `__Host-` or `__Secure-`. @default true */
  readonly secure?: boolean | undefined;
  /**
   * The attribute Domain, such as `"example.com"`: all hosts of the domain get the cookies, and every one of them can set
   * cookies of these names. A name must then not begin with `__Host-`. @default the host that sets the cookies alone
   */
  readonly domain?: string | undefined;
  /**
   * The attribute Partitioned (CHIPS): a page in a frame has cookies of its own for each top-level site. It needs `secure`, and
   * in frames of other sites `sameSite: "none"`. @default false
   */
  readonly partitioned?: boolean | undefined;
}

export interface ResolvedCookies {
  readonly access: string | undefined;
  readonly refresh: string;
  readonly refreshPath: string;
  readonly sameSite: "Strict" | "Lax" | "None";
  readonly secure: boolean;
  readonly domain: string | undefined;
  readonly partitioned: boolean;
}

const sameSites = { strict: "Strict", lax: "Lax", none: "None" } as const;

export function resolveCookies(option: string, options: CookieOptions): ResolvedCookies {
  checkObject(option, options, ["access", "refresh", "refreshPath", "sameSite", "secure", "domain", "partitioned"]);
  const { secure = true, sameSite = "strict", refreshPath = "/auth", domain, partitioned = false } = options;
  checkBoolean(`${option}.secure`, secure);
  checkBoolean(`${option}.partitioned`, partitioned);
  if (domain !== undefined) checkCookieDomain(`${option}.domain`, domain);
  if (partitioned && !secure) throw optionError(`${option}.partitioned`, "needs secure: browsers refuse it otherwise");
  const prefix = !secure ? "" : domain === undefined ? "__Host-" : "__Secure-";
  const { access = `${prefix}access`, refresh = secure ? "__Secure-refresh" : "refresh" } = options;
  checkOneOf(`${option}.sameSite`, sameSite, ["strict", "lax", "none"]);
  if (!secure && sameSite === "none") throw optionError(`${option}.sameSite`, 'must not be "none" without secure');
  if (typeof refreshPath !== "string" || !/^\/[A-Za-z0-9._~/-]*$/.test(refreshPath))
    throw optionError(`${option}.refreshPath`, 'must be a path such as "/auth"');
  if (access !== false) checkCookieName(`${option}.access`, access, { secure, path: "/", domain });
  checkCookieName(`${option}.refresh`, refresh, { secure, path: refreshPath, domain });
  if (access === refresh) throw optionError(`${option}.refresh`, "must not be the name of the access cookie");
  const names = { access: access === false ? undefined : access, refresh };
  return { ...names, refreshPath, sameSite: sameSites[sameSite], secure, domain, partitioned };
}

/** Tokens as cookies (RFC 6265): HttpOnly, Secure, SameSite; without Domain, so that no other host gets them, unless the options name one. */
export interface TokenCookies {
  /**
   * Values of `Set-Cookie` that store the tokens in the browser: `res.append("Set-Cookie", cookies.write(tokens))`. Cookies of
   * a session that is not `persistent` end with the browser.
   */
  write(tokens: IssuedTokens): string[];
  /** Values of `Set-Cookie` that delete both cookies. */
  clear(): string[];
  /** The refresh token of a `Cookie` header. Undefined if there is none, or more than one. */
  readRefresh(header: string | undefined): string | undefined;
}

export function createTokenCookies(options: ResolvedCookies): TokenCookies {
  const { access, refresh, refreshPath, ...attributes } = options;

  function accessCookie(value: string, maxAgeSeconds: number | undefined): string[] {
    return access === undefined ? [] : [serializeCookie(access, value, { ...attributes, path: "/", maxAgeSeconds })];
  }

  function refreshCookie(value: string, maxAgeSeconds: number | undefined): string {
    return serializeCookie(refresh, value, { ...attributes, path: refreshPath, maxAgeSeconds });
  }

  return {
    write({ accessToken, expiresIn, refreshToken, refreshExpiresIn, persistent }) {
      const ages = persistent ? [expiresIn, refreshExpiresIn] : [];
      return [...accessCookie(accessToken, ages[0]), refreshCookie(refreshToken, ages[1])];
    },
    clear: () => [...accessCookie("", 0), refreshCookie("", 0)],
    readRefresh(header) {
      const [token, ...others] = findCookies(header, refresh);
      return others.length === 0 ? token : undefined;
    },
  };
}
