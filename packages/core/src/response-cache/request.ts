import { createHash } from "node:crypto";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange, Facts } from "../http/exchange.js";
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

/** What the cache knows of a request that it may answer. */
export interface CacheableRequest extends Lookup {
  readonly directives: Directives;
  /** Somebody is signed in, or says so: RFC 9111's Authorization. */
  readonly hasCredentials: boolean;
  /** Where the credentials are; undefined without any. */
  readonly credentialsField: string | undefined;
  readonly hasCookies: boolean;
  /** Has middleware behind the cache found out that somebody else is asking, too? */
  readonly hasNewIdentity: () => boolean;
  /** May what its handler says be stored? */
  readonly mayStore: boolean;
  /** Wants a response that is made for it. */
  readonly wantsOwnResponse: boolean;
  readonly preconditions: Preconditions;
  /** Fields that its handler must not see: the cache answers, or ignores, what they ask for. */
  readonly hidden: readonly string[];
  readonly pass: CachePass;
}

/** Unsafe methods change things (RFC 9110 9.2.1); so may those that nobody knows. */
export function isUnsafe(method: string): boolean {
  return !["GET", "HEAD", "OPTIONS", "TRACE"].includes(method);
}

/** Requests that ask for a part, for a certain state, or for another protocol; RFC 9111 3.3, RFC 9110 13.1 and 7.8. */
const uncacheableFields: readonly string[] = ["range", "if-range", "if-match", "if-unmodified-since", "upgrade"];

/** Conditions are kept from the handler, so that it makes a whole response, and are answered by the cache. */
const conditionalFields: readonly string[] = ["if-none-match", "if-modified-since"];

/** What there is to know of a request, or why the cache keeps out of its way. */
export async function readRequest<Raw>(
  exchange: Exchange<Raw>,
  options: ResolvedResponseCache<Raw>,
  identity: IdentitySources<Raw>,
  pass: CachePass,
): Promise<CacheableRequest | Forward> {
  const { method, raw, facts } = exchange;
  if (method !== "GET" && method !== "HEAD") return "method";
  // An absolute or ill-formed target (RFC 9112 3.2) is read differently by routers, handlers and purges.
  if (!exchange.url.startsWith("/") || exchange.url.includes("#")) return "bypass";
  const { honoursRequests } = options;
  if (honoursRequests && uncacheableFields.some((name) => exchange.header(name) !== undefined)) return "bypass";
  // A handler may wait for a body, or answer by it, and the key knows nothing of it (RFC 9110 9.3.1).
  if (exchange.hasBody) return "bypass";
  if (options.skip !== undefined && (await options.skip(raw, facts))) return "bypass";
  const identityPart = options.per === "user" ? partitionOf(facts) : "everyone";
  const partition = options.partition === undefined ? "" : readPartition(await options.partition(raw, facts));
  if (identityPart === undefined || partition === undefined) return "bypass";
  const names = typeof options.tags === "function" ? await options.tags(raw, facts) : options.tags;
  const target = targetOf(exchange.url, options.query);
  const found = findCredentials(exchange, options.credentials, identity);
  // A user may come with an API key of one of several customers, or in the name of somebody else.
  const credentialFields =
    options.per === "user" ? (found?.headers ?? []).map((name) => [name, exchange.header(name)]) : [];
  const depth = pass.depth === 0 ? [] : [pass.depth];
  const identityBefore = identitiesOf(facts);
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
    hasNewIdentity: () => identitiesOf(facts) !== identityBefore,
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

/** JSON, of which keys are made, makes the same of many values: no two tenants may become one. */
function readPartition(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return undefined;
  throw new TypeError(`portcullis: cacheResponse().partition must return a string or undefined, not ${kindOf(value)}`);
}

/** A request as it came: its handler may change or remove fields before the response says which of them choose it. */
export function withReceivedFields(exchange: Exchange, request: CacheableRequest): CacheableRequest {
  const fields = new Map(exchange.headerNames.map((name) => [name, exchange.header(name)]));
  const received = withoutFields(request.hidden, { header: (name) => fields.get(name) });
  return { ...request, variant: (vary) => variantKey(request.primary, vary, received) };
}

/** The fields of a request but for those that its handler does not see. */
function withoutFields(hidden: readonly string[], fields: Pick<Exchange, "header">): Pick<Exchange, "header"> {
  return { header: (name) => (hidden.includes(name) ? undefined : fields.header(name)) };
}

/** Pragma is the old way to say it, where Cache-Control says nothing (RFC 9111 5.4). */
function requestCacheControl(exchange: Pick<Exchange, "header">): string | undefined {
  const field = exchange.header("cache-control");
  if (field !== undefined) return field;
  return /(?:^|[\s,])no-cache(?:$|[\s,])/i.test(exchange.header("pragma") ?? "") ? "no-cache" : undefined;
}

const identities = new WeakMap<VerifiedToken, string>();

/** Claims that differ from token to token of one user, and say nothing about what the user may see. */
const perTokenClaims: ReadonlySet<string> = new Set(["exp", "iat", "nbf", "jti"]);

/**
 * Whose the response is: the user of this gate, with what other gates know of who is asking; undefined if this gate knows
 * nobody.
 */
function partitionOf(facts: Facts): string | undefined {
  return facts.verified === undefined || facts.verified.partition === "" ? undefined : identitiesOf(facts);
}

/** Who is asking, as far as the gates of this request have found out. */
function identitiesOf(facts: Facts): string {
  const found: string[] = [];
  let one: Facts | undefined = facts.first ?? facts;
  for (; one !== undefined; one = one.next) if (one.verified !== undefined) found.push(identityOf(one.verified));
  return found.join(" ");
}

/** What a token says of its user, with scopes, roles and session. */
function identityOf(token: VerifiedToken): string {
  const known = identities.get(token);
  if (known !== undefined) return known;
  const claims = Object.entries(token.auth.claims).filter(([name]) => !perTokenClaims.has(name));
  // With the issuer as the gate tells issuers apart: the claim in a token may be anybody's, where a gate names none.
  const text = JSON.stringify([token.partition, claims]);
  const identity = `user ${createHash("sha256").update(text).digest("base64url")}`;
  identities.set(token, identity);
  return identity;
}

/** What one of several response caches on the way of a request does for it. */
export interface CachePass {
  /** How many caches the request has passed before. */
  readonly depth: number;
  /** Called when the request meets another cache behind this one. */
  withdraw: () => void;
}

/** The cache that a request has met last, by the set that all gates of the request share. */
const lastPasses = new WeakMap<ReadonlySet<object>, CachePass>();

/**
 * Of several caches on the way of one request, the last decides: it stands next to the handler, with the rules that were
 * written for it. Those before it store nothing, and look for nothing of the last one's, since theirs may be wider rules.
 */
export function enterCache(request: ReadonlySet<object>): CachePass {
  const before = lastPasses.get(request);
  before?.withdraw();
  const pass: CachePass = { depth: before === undefined ? 0 : before.depth + 1, withdraw: () => undefined };
  lastPasses.set(request, pass);
  return pass;
}
