import { findCookies } from "../http/cookies.js";
import type { DenialDetail, DescribeDenial } from "../http/denial-detail.js";
import { kindFound, originFound, plainFound, quoted, quotedList } from "../http/denial-detail.js";
import type { Exchange } from "../http/exchange.js";
import { isCompactJws, isPaddedJws, maxCompactLength } from "./access-token.js";
import { repeatedLines } from "../http/fields.js";
import type { Origins } from "../http/origins.js";
import { resolveOrigins } from "../http/origins.js";
import { checkObject, checkString, isList, kindOf, optionError } from "../lib/validate.js";

/** The parts of an exchange that carry credentials. */
export type Sent<Raw> = Pick<Exchange<Raw>, "method" | "raw" | "rawHeaders" | "isHandshake" | "header">;

/** A function of the application that reads the token of a request; undefined for none. */
export type TokenReader<Raw> = (raw: Raw) => string | undefined;

/** A cookie that carries the token: a value of `auth.tokenFrom`. */
export interface CookieSource {
  /** Name of the cookie. */
  readonly cookie: string;
  /**
   * Origins whose pages may use the cookie with unsafe methods and for streams, besides the origin of the API itself and of
   * `publicUrl`: `"https://app.example.com"`, those of apps such as `"capacitor://localhost"`, and all hosts below a domain as
   * `"https://*.example.com"`. `"null"` is never one. @default none
   */
  readonly origins?: readonly string[] | undefined;
}

/** A source of tokens. */
export type TokenFrom<Raw> = "header" | CookieSource | TokenReader<Raw>;

/** A source of tokens after its option was checked. */
export type TokenSource<Raw> = (
  | { readonly kind: "header" }
  | { readonly kind: "cookie"; readonly name: string; readonly origins: Origins }
  | { readonly kind: "function"; readonly read: TokenReader<Raw>; readonly padded?: boolean | undefined }
) & {
  /** Maximum length of a token in characters. @default 8192 */
  readonly maxLength?: number | undefined;
};

/** Rules for the tokens of all sources. */
export interface SourceRules {
  readonly publicUrl: string | undefined;
  /** Maximum length of a token in characters. */
  readonly maxLength: number;
  /** Allows tokens from functions whose parts are padded with `=`. */
  readonly padded: boolean;
}

export function resolveSources<Raw>(
  from: unknown,
  { publicUrl, maxLength, padded }: SourceRules,
): readonly TokenSource<Raw>[] {
  const list: readonly unknown[] = isList(from) ? from : [from];
  if (list.length === 0) throw optionError("auth.tokenFrom", "must not be an empty list");
  const own = publicUrl === undefined ? [] : [new URL(publicUrl).origin];
  if (padded && !list.some((one) => typeof one === "function"))
    throw optionError("auth.paddedTokens", "has an effect only on tokens that a function in auth.tokenFrom reads");
  return list.map((one) => ({ ...resolveSource<Raw>(one, own, padded), maxLength }));
}

function resolveSource<Raw>(from: unknown, own: readonly string[], padded: boolean): TokenSource<Raw> {
  if (from === "header") return { kind: "header" };
  if (typeof from === "function") return { kind: "function", read: from as TokenReader<Raw>, padded };
  if (typeof from !== "object" || from === null)
    throw optionError(
      "auth.tokenFrom",
      `must be "header", { cookie: "token" }, a function that reads the token, or a list of these, not ${kindOf(from)}`,
    );
  checkObject("auth.tokenFrom", from, ["cookie", "origins"]);
  const { cookie, origins = [] } = from as CookieSource;
  checkString("auth.tokenFrom.cookie", cookie);
  return { kind: "cookie", name: cookie, origins: resolveOrigins("auth.tokenFrom.origins", origins, own) };
}

/** The authentication scheme of a token: alone (RFC 6750), or with a DPoP proof (RFC 9449 7.1). */
export type Scheme = "Bearer" | "DPoP";

/** The credentials of a request. */
export type Credentials =
  | { readonly kind: "none" }
  | { readonly kind: "token"; readonly token: string; readonly scheme: Scheme }
  | (RefusedCredentials & { readonly kind: "malformed" | "too_large"; readonly scheme: Scheme })
  | (RefusedCredentials & { readonly kind: "ambiguous" | "foreign_origin" });

interface RefusedCredentials {
  readonly cause: string;
  readonly detail?: DescribeDenial | undefined;
}

const none: Credentials = { kind: "none" };

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

/** A token that was verified before, equal to this text; undefined without one. Its form is right. */
export type FindKnownToken = (text: string) => string | undefined;

const knowsNone: FindKnownToken = () => undefined;

/** Reads the token of a request. A second token from another source makes the request ambiguous (RFC 6750 2). */
export function readCredentials<Raw>(
  exchange: Sent<Raw>,
  sources: readonly TokenSource<Raw>[],
  findKnown: FindKnownToken = knowsNone,
): Credentials {
  const [only] = sources;
  if (only !== undefined && sources.length === 1) return readSource(exchange, only, findKnown);
  let found = none;
  for (const source of sources) {
    const credentials = readSource(exchange, source, findKnown);
    if (credentials.kind === "none") continue;
    if (found.kind !== "none") return ambiguousSources(sources);
    found = credentials;
  }
  return found;
}

function nameOfSource<Raw>(source: TokenSource<Raw>): string {
  if (source.kind === "header") return "the header Authorization";
  return source.kind === "cookie" ? `the cookie ${source.name}` : "a function";
}

/** Does a request carry something that is meant as a token? A function of the application that throws has found none. */
export function carriesToken<Raw>(sources: readonly TokenSource<Raw>[]): (exchange: Sent<Raw>) => boolean {
  return (exchange) => {
    try {
      return readCredentials(exchange, sources).kind !== "none";
    } catch {
      return false;
    }
  };
}

/** The places in which a request has no token, and what it has instead of one. */
export function describeMissing<Raw>(exchange: Sent<Raw>, sources: readonly TokenSource<Raw>[]): DenialDetail {
  const expected = `a token in ${sources.map(nameOfSource).join(" or ")}`;
  const authorization = exchange.header("authorization");
  if (authorization === undefined) return { expected };
  // The field may be a secret without a scheme.
  const scheme = otherSchemes.find((name) =>
    authorization.trimStart().toLowerCase().startsWith(`${name.toLowerCase()} `),
  );
  return { header: "Authorization", expected, found: scheme === undefined ? "another scheme" : `the scheme ${scheme}` };
}

const otherSchemes = ["Basic", "Digest", "Negotiate", "NTLM", "ApiKey", "Api-Key", "Token", "JWT", "AWS4-HMAC-SHA256"];

function readSource<Raw>(exchange: Sent<Raw>, source: TokenSource<Raw>, findKnown: FindKnownToken): Credentials {
  const { maxLength = maxCompactLength } = source;
  switch (source.kind) {
    case "header":
      return readHeader(exchange, maxLength, findKnown);
    case "cookie":
      return readCookie(exchange, source.name, source.origins, maxLength);
    case "function":
      return readFunction(exchange, source.read, maxLength, source.padded === true);
  }
}

/** A function that reads a header sees only its first line where Node keeps no other. */
function readFunction<Raw>(
  exchange: Sent<Raw>,
  read: TokenReader<Raw>,
  maxLength: number,
  padded: boolean,
): Credentials {
  const token = readNow(read, exchange.raw);
  const isPadded = padded && typeof token === "string" && isPaddedJws(token, maxLength);
  const credentials: Credentials = isPadded ? { kind: "token", token, scheme: "Bearer" } : checkToken(token, maxLength);
  if (credentials.kind === "none") return credentials;
  for (const name of ["authorization", "proxy-authorization"]) {
    const lines = repeatedLines(exchange, name);
    if (lines !== undefined && readLines(lines, maxLength).kind === "ambiguous") return contradiction;
  }
  return credentials;
}

/** A promise would be taken for a malformed token, and its failure would end the process. */
function readNow<Raw>(read: TokenReader<Raw>, raw: Raw): unknown {
  const token: unknown = read(raw);
  if (!(token instanceof Promise)) return token;
  token.catch(() => undefined);
  throw new TypeError("the function in auth.tokenFrom must return a token or undefined at once, not a promise");
}

const contradiction: Credentials = {
  kind: "ambiguous",
  cause: "two Authorization lines differ",
  detail: () => ({ header: "Authorization" }),
};

function readHeader<Raw>(exchange: Sent<Raw>, maxLength: number, findKnown: FindKnownToken): Credentials {
  const value = exchange.header("authorization");
  if (value === undefined) return none;
  const lines = repeatedLines(exchange, "authorization");
  if (lines !== undefined) return readLines(lines, maxLength);
  // The usual spelling, with a token of an earlier request. Only a function may read padded tokens.
  if (value.startsWith("Bearer ") && !value.includes("=")) {
    const token = findKnown(value.slice(7));
    if (token !== undefined) return { kind: "token", token, scheme: "Bearer" };
  }
  const credentials = readLine(value, maxLength);
  return credentials.kind === "malformed" && joinsTokens(exchange, value, maxLength) ? contradiction : credentials;
}

/** The field is not a list (RFC 9110 11.6.2). If lines differ, a proxy or a handler may use another line than the gate. */
function readLines(lines: readonly string[], maxLength: number): Credentials {
  const [first = none, ...others] = lines.map((line) => readLine(line, maxLength));
  return others.every((other) => isSame(first, other)) ? first : contradiction;
}

function isSame(one: Credentials, other: Credentials): boolean {
  if (one.kind !== "token" || other.kind !== "token") return one.kind === other.kind;
  return one.token === other.token && one.scheme === other.scheme;
}

/** Without raw lines, as on some serverless platforms, several lines have been joined by commas. */
function joinsTokens<Raw>({ rawHeaders }: Sent<Raw>, value: string, maxLength: number): boolean {
  if (rawHeaders !== undefined && rawHeaders.length > 0) return false;
  const [first, ...others] = value
    .split(",")
    .map((line) => readLine(line, maxLength))
    .filter(({ kind }) => kind === "token");
  return first !== undefined && others.some((other) => !isSame(first, other));
}

/** Reads `Bearer` or `DPoP` in any case, blanks, and one token. Another scheme counts as no credentials. */
function readLine(value: string, maxLength: number): Credentials {
  if (value === "") return none;
  const text = value.trim();
  const blank = text.search(/[ \t]/);
  const scheme = schemes[(blank === -1 ? text : text.slice(0, blank)).toLowerCase()];
  if (scheme === undefined) return none;
  return blank === -1 ? malformed(scheme, "") : checkToken(text.slice(blank).trimStart(), maxLength, scheme);
}

const schemes: Readonly<Record<string, Scheme | undefined>> = Object.assign(
  Object.create(null) as object,
  {
    bearer: "Bearer",
    dpop: "DPoP",
  } as const,
);

function readCookie<Raw>(exchange: Sent<Raw>, name: string, origins: Origins, maxLength: number): Credentials {
  const [value, ...others] = findCookies(exchange.header("cookie"), name);
  // A page below the same domain can add a cookie of this name, and so sign a user in as another.
  if (others.some((other) => other !== value))
    return { kind: "ambiguous", cause: "two cookies carry a token", detail: () => ({ header: `Cookie ${name}` }) };
  const credentials = checkToken(value, maxLength);
  if (credentials.kind !== "token" || !mustProveOrigin(exchange) || isOwnOrigin(exchange, origins)) return credentials;
  return {
    kind: "foreign_origin",
    cause: "a cookie on an unsafe method or a handshake, not from an allowed origin",
    detail: () => describeOrigin(exchange, origins),
  };
}

function describeOrigin<Raw>(exchange: Sent<Raw>, { names = [] }: Origins): DenialDetail {
  const [origin, site] = [exchange.header("origin"), exchange.header("sec-fetch-site")];
  const found = origin === undefined ? "none" : originFound(origin);
  return {
    header: "Origin",
    expected:
      names.length === 0 ? "the origin of the API, and neither publicUrl nor origins is set" : quotedList(names),
    found: site === undefined ? found : `${found} with Sec-Fetch-Site ${plainFound(site)}`,
  };
}

/** Unsafe methods, and requests that open a connection which the page then reads: WebSocket and server-sent events. */
function mustProveOrigin<Raw>(exchange: Sent<Raw>): boolean {
  if (!safeMethods.has(exchange.method) || exchange.isHandshake === true) return true;
  return (
    exchange.header("upgrade")?.toLowerCase().includes("websocket") === true ||
    exchange.header("accept")?.includes("text/event-stream") === true
  );
}

/** Browsers send cookies for every page. These headers name the origin of the page, and pages cannot set them. */
function isOwnOrigin<Raw>(exchange: Sent<Raw>, origins: Origins): boolean {
  const origin = exchange.header("origin");
  if (origin !== undefined && origins.has(origin)) return true;
  const site = exchange.header("sec-fetch-site");
  if (origin !== undefined || site !== undefined) return site === "same-origin";
  return isOwnReferrer(exchange, origins);
}

/**
 * Over plain http, outside of localhost, browsers send no `Sec-Fetch-Site` (W3C Fetch Metadata 2), and no `Origin` with a GET
 * of the same origin, such as that of EventSource. Their `Referer` still names the page; a page can leave it out, and not
 * choose it. Unsafe methods and WebSocket handshakes always have an `Origin`.
 */
function isOwnReferrer<Raw>(exchange: Sent<Raw>, origins: Origins): boolean {
  if (!safeMethods.has(exchange.method) || exchange.header("upgrade") !== undefined) return false;
  const referrer = exchange.header("referer");
  return referrer !== undefined && URL.canParse(referrer) && origins.has(new URL(referrer).origin);
}

function checkToken(token: unknown, maxLength: number, scheme: Scheme = "Bearer"): Credentials {
  if (token === undefined || token === null || token === "") return none;
  if (typeof token !== "string") return malformed(scheme, token);
  if (token.length > maxLength) return tooLarge(token.length, maxLength, scheme);
  return isCompactJws(token, maxLength) ? { kind: "token", token, scheme } : malformed(scheme, token);
}

// These are functions of their own, since a function that makes a closure allocates its variables at each call.
function ambiguousSources<Raw>(sources: readonly TokenSource<Raw>[]): Credentials {
  const detail = (): DenialDetail => ({ expected: `one of ${sources.map(nameOfSource).join(", ")}` });
  return { kind: "ambiguous", cause: "two sources carry a token", detail };
}

function tooLarge(length: number, maxLength: number, scheme: Scheme): Credentials {
  return {
    kind: "too_large",
    scheme,
    cause: "the token is longer than auth.maxTokenLength",
    detail: () => ({ expected: `at most ${maxLength} characters`, found: `${length} characters` }),
  };
}

function malformed(scheme: Scheme, credential: unknown): Credentials {
  return {
    kind: "malformed",
    scheme,
    cause: "the credential is not a JWT",
    detail: () => ({ expected: "three parts of base64url", found: shapeOf(credential) }),
  };
}

/** Words that programs send if they have no token. */
const emptyWords = ["undefined", "null", "[object Object]", "[object Promise]", "NaN", "true", "false"];

/** The shape of a credential, which may be a secret. */
function shapeOf(credential: unknown): string {
  if (typeof credential !== "string") return kindFound(credential);
  if (credential === "") return "the scheme alone";
  if (emptyWords.includes(credential)) return quoted(credential);
  const parts = credential.split(".").length;
  const shape = `${credential.length} characters in ${parts} ${parts === 1 ? "part" : "parts"}`;
  if (/^["'].*["']$/.test(credential)) return `${shape}, in quotes`;
  return /\s/.test(credential) ? `${shape}, with blanks` : shape;
}
