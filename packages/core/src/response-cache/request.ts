import { createHash } from "node:crypto";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange } from "../http/exchange.js";
import type { GateExchange, RequestState } from "../request/state.js";
import { kindOf } from "../lib/validate.js";
import type { Directives } from "./cache-control.js";
import { readDirectives } from "./cache-control.js";
import { primaryKey, variantKey } from "./cache-key.js";
import type { Forward } from "./cache-status.js";
import type { IdentitySources } from "./credentials.js";
import { findCredentials } from "./credentials.js";
import type { ResolvedResponseCache } from "./options.js";
import type { Lookup } from "./response-store.js";
import { tagNamed, tagOfPath, tagOfTarget } from "./tags.js";
import { targetOf } from "./target-uri.js";
import type { Preconditions } from "./validators.js";

/** A request that the cache may answer. */
export interface CacheableRequest extends Lookup {
  readonly directives: Directives;
  /** The request has Authorization (RFC 9111 3.5), or other credentials. */
  readonly hasCredentials: boolean;
  /** The field with the credentials, or a word for another place; undefined without any. */
  readonly credentialsField: string | undefined;
  readonly hasCookies: boolean;
  /** True if middleware behind the cache has verified another token of the request. */
  readonly hasNewIdentity: () => boolean;
  /** The response of the handler may be stored. */
  readonly mayStore: boolean;
  /** The request asks for a response of its own, and does not wait for another request. */
  readonly wantsOwnResponse: boolean;
  readonly preconditions: Preconditions;
  /** Fields that the handler must not see: the cache acts on them, or ignores them. */
  readonly hidden: readonly string[];
  readonly pass: CachePass;
}

/** True for methods that are unsafe (RFC 9110 9.2.1), and for unknown methods, which may be. */
export function isUnsafe(method: string): boolean {
  return !["GET", "HEAD", "OPTIONS", "TRACE"].includes(method);
}

/** Fields that ask for a part, a certain state, or another protocol (RFC 9111 3.3, RFC 9110 13.1 and 7.8). */
const uncacheableFields: readonly string[] = ["range", "if-range", "if-match", "if-unmodified-since", "upgrade"];

/** The cache evaluates these preconditions; the handler does not see them, so that it makes a whole response. */
const conditionalFields: readonly string[] = ["if-none-match", "if-modified-since"];

/** Reads a request; returns the reason instead, if the request must go on to the handler. */
export async function readRequest<Raw>(
  exchange: GateExchange<Raw>,
  options: ResolvedResponseCache<Raw>,
  identity: IdentitySources<Raw>,
  pass: CachePass,
): Promise<CacheableRequest | Forward> {
  const { method, raw, state } = exchange;
  const { facts } = state;
  if (method !== "GET" && method !== "HEAD") return "method";
  // Routers, handlers and purges may read an absolute or malformed target differently (RFC 9112 3.2).
  if (!exchange.url.startsWith("/") || exchange.url.includes("#")) return "bypass";
  const { honoursRequests } = options;
  if (honoursRequests && uncacheableFields.some((name) => exchange.header(name) !== undefined)) return "bypass";
  // The response may depend on the body, which is no part of the key (RFC 9110 9.3.1).
  if (exchange.hasBody) return "bypass";
  if (options.skip !== undefined && (await options.skip(raw, facts))) return "bypass";
  const identityPart = options.per === "user" ? partitionOf(state) : "everyone";
  const partition = options.partition === undefined ? "" : readPartition(await options.partition(raw, facts));
  if (identityPart === undefined || partition === undefined) return "bypass";
  const names = typeof options.tags === "function" ? await options.tags(raw, facts) : options.tags;
  const target = targetOf(exchange.url, options.query);
  const found = findCredentials(exchange, options.credentials, identity);
  // Further credentials are part of the key: the user may have API keys of several customers, or act for another user.
  const credentialFields =
    options.per === "user" ? (found?.headers ?? []).map((name) => [name, exchange.header(name)]) : [];
  const depth = pass.depth === 0 ? [] : [pass.depth];
  const identityBefore = identitiesOf(state);
  const primary = primaryKey(
    exchange,
    target,
    JSON.stringify([identityPart, partition, ...credentialFields, ...depth]),
  );
  const directives = readDirectives(honoursRequests ? requestCacheControl(exchange) : undefined);
  const hidden = honoursRequests ? conditionalFields : [...conditionalFields, ...uncacheableFields];
  const preconditionOf = (name: string): string | undefined => (honoursRequests ? undefined : exchange.header(name));
  return {
    primary,
    variant: (vary) => variantKey(primary, vary, withoutFields(hidden, exchange)),
    tags: [tagOfPath(target), tagOfTarget(target), ...names.map(tagNamed)],
    directives,
    hasCredentials: found !== undefined,
    credentialsField: found?.where,
    hasCookies: exchange.header("cookie") !== undefined,
    hasNewIdentity: () => identitiesOf(state) !== identityBefore,
    mayStore: method === "GET" && !directives.has("no-store"),
    wantsOwnResponse: ["no-cache", "no-store", "max-age"].some((name) => directives.has(name)) || method === "HEAD",
    preconditions: {
      ifNoneMatch: exchange.header("if-none-match"),
      ifModifiedSince: exchange.header("if-modified-since"),
      ifMatch: preconditionOf("if-match"),
      ifUnmodifiedSince: preconditionOf("if-unmodified-since"),
    },
    hidden,
    pass,
  };
}

/** Text only: JSON, which keys are made of, would turn different values into one key. */
function readPartition(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return undefined;
  throw new TypeError(`portcullis: cacheResponse().partition must return a string or undefined, not ${kindOf(value)}`);
}

/** A request with its fields as received: the handler may change or remove fields before its `Vary` is known. */
export function withReceivedFields(exchange: Exchange, request: CacheableRequest): CacheableRequest {
  const fields = new Map(exchange.headerNames.map((name) => [name, exchange.header(name)]));
  const received = withoutFields(request.hidden, { header: (name) => fields.get(name) });
  return { ...request, variant: (vary) => variantKey(request.primary, vary, received) };
}

/** The fields of a request, without those that the handler does not see. */
function withoutFields(hidden: readonly string[], fields: Pick<Exchange, "header">): Pick<Exchange, "header"> {
  return { header: (name) => (hidden.includes(name) ? undefined : fields.header(name)) };
}

/** The Cache-Control field of a request; without one, `Pragma: no-cache` counts (RFC 9111 5.4). */
function requestCacheControl(exchange: Pick<Exchange, "header">): string | undefined {
  const field = exchange.header("cache-control");
  if (field !== undefined) return field;
  return /(?:^|[\s,])no-cache(?:$|[\s,])/i.test(exchange.header("pragma") ?? "") ? "no-cache" : undefined;
}

const identities = new WeakMap<VerifiedToken, string>();

/** Claims that differ between the tokens of one user, and do not change what the user may see. */
const perTokenClaims: ReadonlySet<string> = new Set(["exp", "iat", "nbf", "jti"]);

/**
 * The user whose response it is: the user of this gate, with the identities that other gates found; undefined if this gate
 * found no user.
 */
function partitionOf(state: RequestState): string | undefined {
  return state.verified === undefined || state.verified.partition === "" ? undefined : identitiesOf(state);
}

/** The identities that all gates of the request have found so far. */
function identitiesOf(state: RequestState): string {
  return state.verifiedTokens.map(identityOf).join(" ");
}

/** The identity that a token states: its user, scopes, roles and session. */
function identityOf(token: VerifiedToken): string {
  const known = identities.get(token);
  if (known !== undefined) return known;
  const claims = Object.entries(token.auth.claims).filter(([name]) => !perTokenClaims.has(name));
  // The partition has the issuer that was verified: the claim alone proves nothing where a gate names no issuer.
  const text = JSON.stringify([token.partition, claims]);
  const identity = `user ${createHash("sha256").update(text).digest("base64url")}`;
  identities.set(token, identity);
  return identity;
}

/** The pass of a request through one of several response caches. */
export interface CachePass {
  /** The number of caches that the request passed before. */
  readonly depth: number;
  /** Called when the request reaches another cache behind this one. */
  withdraw: () => void;
}

/** The last pass of each request, by the set that all gates of the request share. */
const lastPasses = new WeakMap<object, CachePass>();

/**
 * Notes that a request has reached a cache. Of several caches the last one stores, since its rules were written for this
 * handler. The caches before it store nothing, and cannot find its responses: their rules may be wider.
 */
export function enterCache(request: object): CachePass {
  const before = lastPasses.get(request);
  before?.withdraw();
  const pass: CachePass = { depth: before === undefined ? 0 : before.depth + 1, withdraw: () => undefined };
  lastPasses.set(request, pass);
  return pass;
}
