import type { Auth } from "../auth/claims.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { RequestCache } from "../cache/cache-types.js";
import type { Body } from "./body.js";
import type { LoginAttempt } from "../login/attempt.js";
import type { Quota } from "../limits/quota.js";
import type { Interceptor } from "./interceptor.js";

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
  /**
   * Does the framework hold the response until its middleware has returned, as Koa does? Then a stored response is given to
   * the framework, middleware in front may change it, and a condition of the request is judged when it is sent.
   */
  readonly holdsResponse?: boolean | undefined;
  /** Names and values of the header lines as they came, in turn. Undefined or empty where the framework does not show them. */
  readonly rawHeaders?: readonly string[] | undefined;
  /** Does a body follow the head of the request, or may it? */
  readonly hasBody: boolean;
  /** Did the request come over TLS to this process? @default false */
  readonly secure?: boolean | undefined;
  /** Has the client shown a certificate in the TLS handshake with this process? @default false */
  readonly clientCertificate?: boolean | undefined;
  /** The lower-case names of the request headers; in HTTP/2 also those of pseudo-fields. */
  readonly headerNames: readonly string[];
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
  /** Keys of the uses of the request's DPoP proof that the store has recorded: gates of other issuers have others. */
  proofs: readonly string[];
  /** The attempt to sign in that `throttleLogin()` let through. */
  loginAttempt: LoginAttempt | undefined;
  /** Policies that have already counted this request, and services that have already passed it: none is asked twice. */
  readonly settled: Set<object>;
  /** What the middleware that runs now found out: the sum of its {@link foundOut}. The rest is nothing to show. */
  found: number;
  /** What this gate showed last of who is asking. */
  shownAuth: Auth | undefined;
  /** Where these facts keep what any gate showed last under a property: that property. */
  property: string | undefined;
  shownLast: Auth | undefined;
  /** Were these shown? */
  cacheShown: boolean;
  quotasShown: boolean;
  /** The facts of the first gate of this request; undefined if these are them. */
  readonly first: Facts | undefined;
  /** Those of the gate after this one. */
  next: Facts | undefined;
}

/** What a middleware can find out about a request. */
export const foundOut = { auth: 1, cache: 2, quotas: 4, loginAttempt: 8 } as const;

const noProofs: readonly string[] = [];

/** With `first`, those at another gate of the same request: but for who is asking, all of them are the request's. */
export function createFacts(first?: Facts): Facts {
  const facts: Facts = {
    auth: undefined,
    gate: undefined,
    identified: false,
    cache: undefined,
    quotas: [],
    verified: undefined,
    proofs: noProofs,
    loginAttempt: undefined,
    settled: first?.settled ?? new Set(),
    found: 0,
    shownAuth: undefined,
    property: undefined,
    shownLast: undefined,
    cacheShown: false,
    quotasShown: false,
    first,
    next: undefined,
  };
  if (first !== undefined) {
    for (const name of sharedFacts) share(facts, first, name);
    facts.next = first.next;
    first.next = facts;
  }
  return facts;
}

const sharedFacts = ["cache", "quotas", "proofs", "identified", "cacheShown", "quotasShown"] as const;

function share(facts: Facts, first: Facts, name: (typeof sharedFacts)[number]): void {
  Object.defineProperty(facts, name, {
    get: () => first[name],
    set: (value: unknown) => void Object.assign(first, { [name]: value }),
  });
}

/**
 * Puts what this run of a middleware found out where handlers find it: on the framework's request or context. What the
 * application has put there instead, or removed, stays, unless it is something new.
 */
export function showFacts(target: object, property: string, facts: Facts): void {
  const { found } = facts;
  const shown = target as Record<string, unknown>;
  if ((found & foundOut.auth) !== 0) showAuth(shown, property, facts);
  if ((found & foundOut.cache) !== 0 && !facts.cacheShown) {
    shown.cache = facts.cache;
    facts.cacheShown = true;
  }
  // Handlers may rely on a list, also behind middleware that limits nothing.
  if ((found & foundOut.quotas) !== 0 || (!facts.quotasShown && shown.quotas === undefined)) {
    shown.quotas = facts.quotas;
    facts.quotasShown = true;
  }
  if ((found & foundOut.loginAttempt) !== 0) shown.loginAttempt = facts.loginAttempt;
}

/**
 * Who is asking replaces what a gate has shown, this one or another with the same property: nobody does so too. It replaces
 * what the application has put there, or removed, only if it is somebody, and other than this gate showed before.
 */
function showAuth(shown: Record<string, unknown>, property: string, facts: Facts): void {
  const { auth } = facts;
  const record = recordOf(property, facts);
  const isKnown = auth === undefined || auth.token === facts.shownAuth?.token;
  if (isKnown && shown[property] !== record.shownLast) return;
  shown[property] = auth;
  facts.shownAuth = auth;
  record.property = property;
  record.shownLast = auth;
}

/** Where it is kept what gates showed last under a property: with the gate that was the first to show under it. */
function recordOf(property: string, facts: Facts): Facts {
  let other: Facts | undefined = facts.first ?? facts;
  while (other !== undefined && other.property !== property) other = other.next;
  return other ?? facts;
}
