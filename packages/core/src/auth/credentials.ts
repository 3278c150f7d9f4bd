import { findCookies } from "../http/cookies.js";
import type { Exchange } from "../http/exchange.js";
import { isCompactJws, isPaddedJws, maxCompactLength } from "./access-token.js";
import { repeatedLines } from "../http/fields.js";
import { checkObject, checkString, isList, optionError, stringsOrNone } from "../lib/validate.js";

/** The parts of an exchange that carry credentials. */
export type Sent<Raw> = Pick<Exchange<Raw>, "method" | "raw" | "rawHeaders" | "isHandshake" | "header">;

/** A function of the application that reads the token of a request; undefined for none. */
export type TokenReader<Raw> = (raw: Raw) => string | undefined;

/** A cookie that carries the token: a value of `auth.tokenFrom`. */
export interface CookieSource {
  /** Name of the cookie. */
  readonly cookie: string;
  /**
   * Origins whose pages may use the cookie with unsafe methods, such as `"https://app.example.com"`, besides the origin of the
   * API itself and of `publicUrl`. @default none
   */
  readonly origins?: readonly string[] | undefined;
}

export type TokenFrom<Raw> = "header" | CookieSource | TokenReader<Raw>;

/** A source of tokens after its option was checked. */
export type TokenSource<Raw> =
  | { readonly kind: "header" }
  | { readonly kind: "cookie"; readonly name: string; readonly origins: ReadonlySet<string> }
  | { readonly kind: "function"; readonly read: TokenReader<Raw>; readonly padded?: boolean | undefined };

/** `padded` allows tokens from functions whose parts are padded with `=`. */
export function resolveSources<Raw>(
  from: unknown,
  publicUrl: string | undefined,
  padded: boolean,
): readonly TokenSource<Raw>[] {
  const list: readonly unknown[] = isList(from) ? from : [from];
  if (list.length === 0) throw optionError("auth.tokenFrom", "must not be an empty list");
  const own = publicUrl === undefined ? [] : [new URL(publicUrl).origin];
  if (padded && !list.some((one) => typeof one === "function"))
    throw optionError("auth.paddedTokens", "has an effect only on tokens that a function in auth.tokenFrom reads");
  return list.map((one) => resolveSource<Raw>(one, own, padded));
}

function resolveSource<Raw>(from: unknown, own: readonly string[], padded: boolean): TokenSource<Raw> {
  if (from === "header") return { kind: "header" };
  if (typeof from === "function") return { kind: "function", read: from as TokenReader<Raw>, padded };
  checkObject("auth.tokenFrom", from, ["cookie", "origins"]);
  const { cookie, origins = [] } = from as CookieSource;
  checkString("auth.tokenFrom.cookie", cookie);
  const allowed = stringsOrNone("auth.tokenFrom.origins", origins);
  const wrong = allowed.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin);
  if (wrong !== undefined)
    throw optionError("auth.tokenFrom.origins", 'must be origins such as "https://app.example.com"');
  return { kind: "cookie", name: cookie, origins: new Set([...own, ...allowed]) };
}

/** The authentication scheme of a token: alone (RFC 6750), or with a DPoP proof (RFC 9449 7.1). */
export type Scheme = "Bearer" | "DPoP";

/** The credentials of a request. */
export type Credentials =
  | { readonly kind: "none" }
  | { readonly kind: "token"; readonly token: string; readonly scheme: Scheme }
  | { readonly kind: "malformed" | "too_large"; readonly scheme: Scheme; readonly cause: string }
  | { readonly kind: "ambiguous" | "foreign_origin"; readonly cause: string };

const none: Credentials = { kind: "none" };

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

/** Reads the token of a request. A second token from another source makes the request ambiguous (RFC 6750 2). */
export function readCredentials<Raw>(exchange: Sent<Raw>, sources: readonly TokenSource<Raw>[]): Credentials {
  let found = none;
  for (const source of sources) {
    const credentials = readSource(exchange, source);
    if (credentials.kind === "none") continue;
    if (found.kind !== "none") return { kind: "ambiguous", cause: "two sources carry a token" };
    found = credentials;
  }
  return found;
}

function readSource<Raw>(exchange: Sent<Raw>, source: TokenSource<Raw>): Credentials {
  switch (source.kind) {
    case "header":
      return readHeader(exchange);
    case "cookie":
      return readCookie(exchange, source.name, source.origins);
    case "function":
      return readFunction(exchange, source.read, source.padded === true);
  }
}

/** A function that reads a header sees only its first line where Node keeps no other. */
function readFunction<Raw>(exchange: Sent<Raw>, read: TokenReader<Raw>, padded: boolean): Credentials {
  const token = readNow(read, exchange.raw);
  const isPadded = padded && typeof token === "string" && isPaddedJws(token);
  const credentials: Credentials = isPadded ? { kind: "token", token, scheme: "Bearer" } : checkToken(token);
  if (credentials.kind === "none") return credentials;
  for (const name of ["authorization", "proxy-authorization"]) {
    const lines = repeatedLines(exchange, name);
    if (lines !== undefined && readLines(lines).kind === "ambiguous") return contradiction;
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

const contradiction: Credentials = { kind: "ambiguous", cause: "two Authorization lines differ" };

function readHeader<Raw>(exchange: Sent<Raw>): Credentials {
  const value = exchange.header("authorization");
  if (value === undefined) return none;
  const lines = repeatedLines(exchange, "authorization");
  if (lines !== undefined) return readLines(lines);
  const credentials = readLine(value);
  return credentials.kind === "malformed" && joinsTokens(exchange, value) ? contradiction : credentials;
}

/** The field is not a list (RFC 9110 11.6.2). If lines differ, a proxy or a handler may use another line than the gate. */
function readLines(lines: readonly string[]): Credentials {
  const [first = none, ...others] = lines.map(readLine);
  return others.every((other) => isSame(first, other)) ? first : contradiction;
}

function isSame(one: Credentials, other: Credentials): boolean {
  if (one.kind !== "token" || other.kind !== "token") return one.kind === other.kind;
  return one.token === other.token && one.scheme === other.scheme;
}

/** Without raw lines, as on some serverless platforms, several lines have been joined by commas. */
function joinsTokens<Raw>({ rawHeaders }: Sent<Raw>, value: string): boolean {
  if (rawHeaders !== undefined && rawHeaders.length > 0) return false;
  const [first, ...others] = value
    .split(",")
    .map(readLine)
    .filter(({ kind }) => kind === "token");
  return first !== undefined && others.some((other) => !isSame(first, other));
}

/** Reads `Bearer` or `DPoP` in any case, blanks, and one token. Another scheme counts as no credentials. */
function readLine(value: string): Credentials {
  if (value === "") return none;
  const text = value.trim();
  const blank = text.search(/[ \t]/);
  const scheme = schemes[(blank === -1 ? text : text.slice(0, blank)).toLowerCase()];
  if (scheme === undefined) return none;
  return blank === -1 ? malformed(scheme) : checkToken(text.slice(blank).trimStart(), scheme);
}

const schemes: Readonly<Record<string, Scheme | undefined>> = Object.assign(
  Object.create(null) as object,
  {
    bearer: "Bearer",
    dpop: "DPoP",
  } as const,
);

function readCookie<Raw>(exchange: Sent<Raw>, name: string, origins: ReadonlySet<string>): Credentials {
  const [value, ...others] = findCookies(exchange.header("cookie"), name);
  // A page below the same domain can add a cookie of this name, and so sign a user in as another.
  if (others.some((other) => other !== value)) return { kind: "ambiguous", cause: "two cookies carry a token" };
  const credentials = checkToken(value);
  if (credentials.kind !== "token" || !mustProveOrigin(exchange) || isOwnOrigin(exchange, origins)) return credentials;
  return { kind: "foreign_origin", cause: "a cookie on an unsafe method or a handshake, not from an allowed origin" };
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
function isOwnOrigin<Raw>(exchange: Sent<Raw>, origins: ReadonlySet<string>): boolean {
  const origin = exchange.header("origin");
  if (origin !== undefined && origins.has(origin)) return true;
  return exchange.header("sec-fetch-site") === "same-origin";
}

function checkToken(token: unknown, scheme: Scheme = "Bearer"): Credentials {
  if (token === undefined || token === null || token === "") return none;
  if (typeof token !== "string") return malformed(scheme);
  if (token.length > maxCompactLength)
    return { kind: "too_large", scheme, cause: "the token is longer than 8192 characters" };
  return isCompactJws(token) ? { kind: "token", token, scheme } : malformed(scheme);
}

function malformed(scheme: Scheme): Credentials {
  return { kind: "malformed", scheme, cause: "the credential is not a JWT" };
}
