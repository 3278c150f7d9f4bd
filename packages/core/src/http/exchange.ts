import type { Auth } from "../auth/claims.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { RequestCache } from "../cache/request-cache.js";
import type { Body } from "./body.js";
import type { LoginAttempt } from "../login/attempt.js";
import type { Quota } from "../quota/limit.js";
import type { Interceptor } from "./interception.js";

/** One HTTP request as the core sees it: the small read-only host object that an adapter provides. */
export interface Exchange<Raw = unknown> {
  /** The framework's own request or context, for the application's callbacks; the core never looks inside. */
  readonly raw: Raw;
  readonly method: string;
  /** Path and query as the client sent them. */
  readonly url: string;
  /** The client's address as the framework resolved it under its own proxy-trust setting. */
  readonly ip: string | undefined;
  /** Does that setting trust every proxy, so that clients may choose their address themselves? */
  readonly trustsEveryProxy: boolean;
  /**
   * The header by which a trusted proxy told that address, in lower case. Undefined where the framework does not trust the
   * sender of the request: then `ip` is the address of the sender, and that may be a proxy.
   */
  readonly addressHeader?: string | undefined;
  /** What the checks found out about this request so far; gates that each find out who is asking have facts of their own. */
  readonly facts: Facts;
  /** Aborted when the client goes away before its response is complete; made when it is first asked for. */
  readonly signal: AbortSignal;
  /** Called once, when the response is over: with its status, 0 if it broke off. Soon, if it is over already. */
  onClose(listener: (status: number) => void): void;
  /** Called once, when the handler has ended, whether or not its client has waited for it. */
  onHandled(listener: () => void): void;
  /** Puts an interceptor between the handler and its response. */
  intercept(interceptor: Interceptor): void;
  /** Names and values of the header lines as they came, in turn. Undefined or empty where the framework does not show them. */
  readonly rawHeaders?: readonly string[] | undefined;
  /** Does a body follow the head of the request, or may it? */
  readonly hasBody: boolean;
  /** A request header by its lower-case name. */
  header(name: string): string | undefined;
  /** The body, up to so many bytes, or what a parser before has made of it. */
  readBody(mostBytes: number): Promise<Body>;
}

/** What the checks found out. Adapters show it to handlers as `auth`, `cache`, `quotas` and `loginAttempt`. */
export interface Facts {
  /** Who is asking; undefined for an anonymous request. */
  auth: Auth | undefined;
  /** The cache of this request; undefined before `guard()` or `requestCache()`. */
  cache: RequestCache | undefined;
  /** The state of every rate limit applied to this request so far. */
  quotas: readonly Quota[];
  /** The gate that finds out who is asking; undefined before one does. */
  gate: object | undefined;
  /** Did any gate find out who is asking? */
  identified: boolean;
  /** The token behind `auth`. */
  verified: VerifiedToken | undefined;
  /** The use of the DPoP proof that came with the request, once the store has recorded it. */
  proof: string | undefined;
  /** The attempt to sign in that `throttleLogin()` let through. */
  loginAttempt: LoginAttempt | undefined;
  /** Policies that have already counted this request, and services that have already passed it: none is asked twice. */
  readonly settled: Set<object>;
}

/** With `first`, those at another gate of the same request: but for who is asking, all of them are the request's. */
export function createFacts(first?: Facts): Facts {
  const facts: Facts = {
    auth: undefined,
    gate: undefined,
    identified: false,
    cache: undefined,
    quotas: [],
    verified: undefined,
    proof: undefined,
    loginAttempt: undefined,
    settled: first?.settled ?? new Set(),
  };
  if (first !== undefined) for (const name of sharedFacts) share(facts, first, name);
  return facts;
}

const sharedFacts = ["cache", "quotas", "proof", "identified"] as const;

function share(facts: Facts, first: Facts, name: (typeof sharedFacts)[number]): void {
  Object.defineProperty(facts, name, {
    get: () => first[name],
    set: (value: unknown) => void Object.assign(first, { [name]: value }),
  });
}

/** Puts the facts where handlers find them: on the framework's request or context. */
export function showFacts(target: object, property: string, { auth, cache, quotas, loginAttempt }: Facts): void {
  const shown = target as Record<string, unknown>;
  shown[property] = auth;
  shown.cache = cache;
  shown.quotas = quotas;
  if (loginAttempt !== undefined) shown.loginAttempt = loginAttempt;
}
