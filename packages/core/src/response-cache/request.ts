import { createHash } from "node:crypto";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Exchange } from "../http/exchange.js";
import type { GateExchange, RequestState } from "../request/state.js";
import { kindOf } from "../lib/validate.js";
import type { Directives } from "./cache-control.js";
import { readDirectives } from "./cache-control.js";
import { digest, keyText, selection, sharedDigest, variantKey } from "./cache-key.js";
import type { Forward } from "./cache-status.js";
import type { FoundCredentials, IdentitySources } from "./credentials.js";
import { findCredentials } from "./credentials.js";
import type { ResolvedResponseCache } from "./options.js";
import type { RequestFields } from "./request-fields.js";
import { conditionalFields, readFields, uncacheableFields } from "./request-fields.js";
import type { LocalLookup } from "./response-store.js";
import { tagNamed, tagsOfTarget } from "./tags.js";
import { targetOf } from "./target-uri.js";
import type { Preconditions } from "./validators.js";

/** A request that the cache may answer. */
export interface CacheableRequest extends LocalLookup {
  readonly directives: Directives;
  /** The request has Authorization (RFC 9111 3.5), or other credentials. */
  readonly hasCredentials: boolean;
  /** The field with the credentials, or a word for another place; undefined without any. */
  readonly credentialsField: string | undefined;
  readonly hasCookies: boolean;
  /** True if middleware behind the cache has verified another token of the request. */
  readonly hasNewIdentity: () => boolean;
  /** The names that the application gave the tags of the response. */
  readonly names: readonly string[];
  /** The response of the handler may be stored. */
  readonly mayStore: boolean;
  /** The request asks for a response of its own, and does not wait for another request. */
  readonly wantsOwnResponse: boolean;
  readonly preconditions: Preconditions;
  /** True if the request may have preconditions. */
  readonly hasPreconditions: boolean;
  /** Fields that the handler must not see: the cache acts on them, or ignores them. */
  readonly hidden: readonly string[];
  readonly pass: CachePass;
  /**
   * Keeps the fields and the identity of the request as they are now: the handler may change or remove fields before its
   * `Vary` is known, and middleware behind the cache may verify another token.
   */
  beginHandling(): void;
}

/** True for methods that are unsafe (RFC 9110 9.2.1), and for unknown methods, which may be. */
export function isUnsafe(method: string): boolean {
  return !["GET", "HEAD", "OPTIONS", "TRACE"].includes(method);
}

/** Reads a request; returns the reason instead, if the request must go on to the handler. */
export function readRequest<Raw>(
  exchange: GateExchange<Raw>,
  options: ResolvedResponseCache<Raw>,
  identity: IdentitySources<Raw>,
  pass: CachePass,
): CacheableRequest | Forward | Promise<CacheableRequest | Forward> {
  const { method } = exchange;
  if (method !== "GET" && method !== "HEAD") return "method";
  // Routers, handlers and purges may read an absolute or malformed target differently (RFC 9112 3.2).
  if (!exchange.url.startsWith("/") || exchange.url.includes("#")) return "bypass";
  const { honoursRequests, skip, partition, tags } = options;
  const fields = readFields(exchange);
  if (honoursRequests && fields.hasUncacheable && uncacheableFields.some((name) => exchange.header(name) !== undefined))
    return "bypass";
  // The response may depend on the body, which is no part of the key (RFC 9110 9.3.1).
  if (exchange.hasBody) return "bypass";
  if (skip !== undefined || partition !== undefined || typeof tags === "function")
    return askApplication(exchange, options, identity, { fields, pass });
  const identityPart = options.per === "user" ? partitionOf(exchange.state) : everyone;
  if (identityPart === undefined) return "bypass";
  return new ReadRequest(exchange, options, identity, { fields, identityPart, partition: "", names: tags, pass });
}

/** The same, with the functions of the application. */
async function askApplication<Raw>(
  exchange: GateExchange<Raw>,
  options: ResolvedResponseCache<Raw>,
  identity: IdentitySources<Raw>,
  { fields, pass }: Pick<RequestParts, "fields" | "pass">,
): Promise<CacheableRequest | Forward> {
  const { raw, state } = exchange;
  const { facts } = state;
  if (options.skip !== undefined && (await options.skip(raw, facts))) return "bypass";
  const identityPart = options.per === "user" ? partitionOf(state) : everyone;
  const partition = options.partition === undefined ? "" : readPartition(await options.partition(raw, facts));
  if (identityPart === undefined || partition === undefined) return "bypass";
  const names = typeof options.tags === "function" ? await options.tags(raw, facts) : options.tags;
  return new ReadRequest(exchange, options, identity, { fields, identityPart, partition, names, pass });
}

const everyone = "everyone";
/** The text of the parts of a key that all clients share. */
const sharedPartition = JSON.stringify([everyone, ""]);

interface RequestParts {
  readonly fields: RequestFields;
  readonly identityPart: string;
  readonly partition: string;
  readonly names: readonly string[];
  readonly pass: CachePass;
}

const hiddenWhenIgnored: readonly string[] = [...conditionalFields, ...uncacheableFields];
const noPreconditions: Preconditions = { ifNoneMatch: undefined, ifModifiedSince: undefined };

/** A request, of which most parts are made when they are needed: a response in process needs few. */
class ReadRequest<Raw> implements CacheableRequest {
  readonly text: string;
  readonly names: readonly string[];
  readonly directives: Directives;
  readonly hasCookies: boolean;
  readonly hasPreconditions: boolean;
  readonly preconditions: Preconditions;
  readonly hidden: readonly string[];
  readonly pass: CachePass;
  readonly #exchange: GateExchange<Raw>;
  readonly #method: string;
  readonly #target: string;
  /** Does the key name no client? */
  readonly #isShared: boolean;
  readonly #found: FoundCredentials | undefined;
  #fields: Pick<Exchange, "header">;
  #primary: string | undefined;
  #identityBefore: string | undefined;

  constructor(
    exchange: GateExchange<Raw>,
    options: ResolvedResponseCache<Raw>,
    identity: IdentitySources<Raw>,
    { fields, identityPart, partition, names, pass }: RequestParts,
  ) {
    const { honoursRequests, per } = options;
    this.#exchange = exchange;
    this.#method = exchange.method;
    this.#target = targetOf(exchange.url, options.query);
    this.#found = findCredentials(exchange, fields.credentials, options.credentials, identity);
    // Further credentials are part of the key: the user may have API keys of several customers, or act for another user.
    const credentialFields =
      per === "user" ? (this.#found?.headers ?? []).map((name) => [name, exchange.header(name)]) : [];
    this.#isShared = per === "everyone" && partition === "" && pass.depth === 0;
    const depth = pass.depth === 0 ? [] : [pass.depth];
    const parts = this.#isShared
      ? sharedPartition
      : JSON.stringify([identityPart, partition, ...credentialFields, ...depth]);
    this.text = keyText(exchange, this.#target, parts, fields.target);
    this.names = names;
    this.directives = readDirectives(honoursRequests && fields.hasControl ? requestCacheControl(exchange) : undefined);
    this.hasCookies = exchange.header("cookie") !== undefined;
    this.hasPreconditions = fields.hasConditions;
    this.preconditions = fields.hasConditions ? readPreconditions(exchange, honoursRequests) : noPreconditions;
    this.hidden = honoursRequests ? conditionalFields : hiddenWhenIgnored;
    this.pass = pass;
    this.#fields = exchange;
  }

  get primary(): string {
    return (this.#primary ??= this.#isShared ? sharedDigest(this.text) : digest(this.text));
  }

  get tags(): readonly string[] {
    const own = tagsOfTarget(this.#target);
    return this.names.length === 0 ? own : [...own, ...this.names.map(tagNamed)];
  }

  get hasCredentials(): boolean {
    return this.#found !== undefined;
  }

  get credentialsField(): string | undefined {
    return this.#found?.where;
  }

  get mayStore(): boolean {
    return this.#method === "GET" && !this.directives.has("no-store");
  }

  get wantsOwnResponse(): boolean {
    return ["no-cache", "no-store", "max-age"].some((name) => this.directives.has(name)) || this.#method === "HEAD";
  }

  readonly variant = (vary: readonly string[]): string => variantKey(this.primary, vary, this.#selecting());

  variantText(vary: readonly string[]): string {
    return vary.length === 0 ? this.text : `${this.text}vary\n${selection(vary, this.#selecting())}`;
  }

  readonly hasNewIdentity = (): boolean => identitiesOf(this.#exchange.state) !== this.#identityBefore;

  beginHandling(): void {
    const exchange = this.#exchange;
    const fields = new Map(exchange.headerNames.map((name) => [name, exchange.header(name)]));
    this.#fields = { header: (name) => fields.get(name) };
    this.#identityBefore = identitiesOf(exchange.state);
  }

  /** The fields of the request, without those that the handler does not see. */
  #selecting(): Pick<Exchange, "header"> {
    const fields = this.#fields;
    return { header: (name) => (this.hidden.includes(name) ? undefined : fields.header(name)) };
  }
}

function readPreconditions(exchange: Pick<Exchange, "header">, honoursRequests: boolean): Preconditions {
  const own = (name: string): string | undefined => (honoursRequests ? undefined : exchange.header(name));
  return {
    ifNoneMatch: exchange.header("if-none-match"),
    ifModifiedSince: exchange.header("if-modified-since"),
    ifMatch: own("if-match"),
    ifUnmodifiedSince: own("if-unmodified-since"),
  };
}

/** Text only: JSON, which keys are made of, would turn different values into one key. */
function readPartition(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (value === undefined || value === null) return undefined;
  throw new TypeError(`portcullis: cacheResponse().partition must return a string or undefined, not ${kindOf(value)}`);
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
  return { depth: before === undefined ? 0 : before.depth + 1, withdraw: nothing };
}

/** Notes that a request goes on behind the cache, where it may reach another one. */
export function leaveCache(request: object, pass: CachePass): void {
  lastPasses.set(request, pass);
}

function nothing(): void {
  return undefined;
}
