import type { Auth } from "../auth/claims.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { RequestCache } from "../cache/cache-types.js";
import type { Exchange } from "../http/exchange.js";
import type { Denied, Reply, Verdict } from "../http/verdict.js";
import type { Quota } from "../http/quota.js";
import type { LoginAttempt } from "../login/attempt.js";
import { DenialError } from "../http/verdict.js";
import type { RequestCount, RequestCounts } from "../telemetry/request-counts.js";
import { FurtherFacts } from "./facts.js";
import type { Facts, WritableFacts } from "./facts.js";

/** An exchange at one gate, with the state that the middleware of this gate shares. */
export interface GateExchange<Raw = unknown> extends Exchange<Raw> {
  readonly state: RequestState;
}

/** Decides about a request and records in `exchange.state` what it found out. Refusals are values; only bugs throw. */
export type Check<Raw = unknown> = (exchange: GateExchange<Raw>) => Verdict | Promise<Verdict>;

/** The place of a middleware: its gate, and whether it identifies the sender of a request. */
export interface Attachment {
  /** Any object that stands for the gate. */
  readonly gate: object;
  /** Does the middleware identify the sender, or decide by identity? Then it ignores what another gate found out. */
  readonly identifies: boolean;
  /** The counts of the requests at the gate. @default none */
  readonly counts?: RequestCounts | undefined;
  /** Looks whether an error handler drops a refusal that was thrown. @default none */
  readonly thrown?: ThrownDenials | undefined;
}

/** Looks whether requests go on after a refusal that was thrown. */
export interface ThrownDenials {
  /** @param routeOf returns the route of the framework that handles the request now; undefined outside of routes. */
  watch(exchange: Exchange, thrown: unknown, routeOf: () => unknown): void;
}

/** Bits of the facts that a run of a middleware has found out. */
const found = { auth: 1, cache: 2, quotas: 4, loginAttempt: 8 } as const;
/**
 * Bits that stay for the whole request: a guard has looked for the sender, a condition has skipped the guard, or (at the first
 * gate, for all gates) a check has refused the request or thrown.
 */
const lasting = { identified: 16, guardSkipped: 32, refused: 64 } as const;
const lastingBits = lasting.identified | lasting.guardSkipped | lasting.refused;

/** The part of the state that all gates of one request share. */
interface SharedState {
  /** The gate whose middleware came first; further ones are among the parts that are done. */
  visitor: object | undefined;
  identified: boolean;
  proofs: readonly string[];
  cacheShown: boolean;
  quotasShown: boolean;
  /** Parts that are done; nearly always at most three. A list would take more memory than the whole state. */
  done1: object | undefined;
  done2: object | undefined;
  done3: object | undefined;
  furtherDone: readonly object[];
  refusal: LimitRefusal | undefined;
}

/** The refusal of this request by limits, and the counters that refused it. */
interface LimitRefusal {
  readonly keys: readonly string[];
  readonly denial: Denied;
}

const nothing: readonly never[] = [];

/** The property of gates without option `property`. */
const usualProperty = "auth";

/**
 * The state of one request at one gate: its facts, and what the checks must know of each other. A request may pass several
 * gates that each identify its sender. Each of them has a state: identity is separate, everything else is shared.
 */
export class RequestState {
  /** The gate that identifies the sender here; undefined before one does. */
  gate: object | undefined = undefined;
  /** The state at the first gate of this request. */
  readonly first: RequestState;
  /** The state at another gate of this request. */
  #next: RequestState | undefined = undefined;
  readonly #facts: WritableFacts;
  readonly #shared: SharedState;
  #verified: VerifiedToken | undefined = undefined;
  /** The sum of the bits of {@link found} for the middleware that runs now, and of {@link lasting}. */
  #found = 0;
  /** The `auth` that this gate has shown last. */
  #ownAuth: Auth | undefined = undefined;
  /** The property under which any gate has shown {@link #lastAuth}; kept at the first gate that used this property. */
  #property: string | undefined = undefined;
  #lastAuth: Auth | undefined = undefined;
  /** The state at the gate that has shown {@link #lastAuth}. */
  #shownBy: RequestState | undefined = undefined;
  /** The property under which this gate shows its user. */
  #ownProperty: string | undefined = undefined;

  /** @param first The state at the first gate of the same request; none for a new request. */
  constructor(first?: RequestState) {
    if (first === undefined) {
      this.first = this;
      this.#facts = { auth: undefined, cache: undefined, quotas: [], loginAttempt: undefined };
      this.#shared = {
        visitor: undefined,
        identified: false,
        proofs: nothing,
        cacheShown: false,
        quotasShown: false,
        done1: undefined,
        done2: undefined,
        done3: undefined,
        furtherDone: nothing,
        refusal: undefined,
      };
    } else {
      this.first = first;
      this.#facts = new FurtherFacts(first.#facts);
      this.#shared = first.#shared;
      this.#next = first.#next;
      first.#next = this;
    }
  }

  /** The facts as handlers and functions of the application see them. */
  get facts(): Facts {
    return this.#facts;
  }

  /** The token behind `facts.auth`. */
  get verified(): VerifiedToken | undefined {
    return this.#verified;
  }

  /**
   * The state at the gate whose user handlers see as `auth`, for the cache of the request: what a handler keeps for this user
   * must not come to the users of another gate. Without such a user it is the gate that shows a user as this one does.
   */
  get shown(): RequestState {
    if (this.first.#next === undefined) return this;
    const own = this.#ownProperty;
    const usual = this.#shownAs(usualProperty);
    if (usual !== undefined && (usual.#verified !== undefined || own === usualProperty)) return usual;
    return (own === undefined ? undefined : this.#shownAs(own)) ?? this;
  }

  /** Has any gate identified the sender of this request? */
  get identified(): boolean {
    return this.#shared.identified;
  }

  /** The tokens that the gates of this request have accepted. */
  get verifiedTokens(): readonly VerifiedToken[] {
    const tokens: VerifiedToken[] = [];
    let state: RequestState | undefined = this.first;
    for (; state !== undefined; state = state.#next) if (state.#verified !== undefined) tokens.push(state.#verified);
    return tokens;
  }

  /** Is this the first middleware of a gate on this request? A gate counts each request once. */
  visit(gate: object): boolean {
    const shared = this.#shared;
    if (shared.visitor === gate) return false;
    if (shared.visitor === undefined) shared.visitor = gate;
    else if (this.isDone(gate)) return false;
    else this.markDone(gate);
    return true;
  }

  /** Has middleware of this gate seen the request before? */
  wasVisitedBy(gate: object): boolean {
    return this.#shared.visitor === gate || this.isDone(gate);
  }

  /** A middleware begins to run: what others have found out is not new. */
  begin(): void {
    this.#found &= lastingBits;
  }

  /** Records the sender of the request; undefined for nobody, and after a refusal. */
  identify(verified: VerifiedToken | undefined): void {
    this.restore(verified);
    this.#found |= found.auth | lasting.identified;
    if (verified !== undefined) this.#shared.identified = true;
  }

  /** Has a guard of this gate looked for the sender, whether or not there is one? */
  get isIdentified(): boolean {
    return (this.#found & lasting.identified) !== 0;
  }

  /** Has a condition, such as that of `unless()`, skipped a guard of this gate? */
  get isGuardSkipped(): boolean {
    return (this.#found & lasting.guardSkipped) !== 0;
  }

  skipGuard(): void {
    this.#found |= lasting.guardSkipped;
  }

  /** A check at this attachment has refused or answered. If other middleware runs after all, its decision counts instead. */
  refuse({ counts }: Attachment, { problem }: Denied | Reply): void {
    if (counts !== undefined && problem !== undefined) this.#markCounted(counts, counts.denied(problem.code));
  }

  /** A check at this attachment has thrown. The rest is as for {@link refuse}. */
  fail({ counts }: Attachment, thrown: unknown): void {
    if (counts !== undefined) this.#markCounted(counts, counts.thrown(thrown));
  }

  /** The request is among those of this count, which did not pass: only there, also if checks have run at the same time. */
  #markCounted(counts: RequestCounts, count: RequestCount): void {
    if (this.countAt(counts) !== undefined) return counts.forgetSecond(count);
    this.first.#found |= lasting.refused;
    this.markDone(count);
  }

  /** The count of the gate that contains this request; undefined if the gate has not refused it. */
  countAt(counts: RequestCounts): RequestCount | undefined {
    if ((this.first.#found & lasting.refused) === 0) return undefined;
    return counts.refusals.find((count) => this.isDone(count));
  }

  /** Brings back the sender that was known before a check that refused. */
  restore(verified: VerifiedToken | undefined): void {
    this.#verified = verified;
    this.#facts.auth = verified?.auth;
  }

  setCache(cache: RequestCache): void {
    this.#facts.cache = cache;
    this.#found |= found.cache;
  }

  addQuotas(quotas: readonly Quota[]): void {
    const { quotas: before } = this.#facts;
    this.#facts.quotas = before.length === 0 ? quotas : [...before, ...quotas];
    this.#found |= found.quotas;
  }

  setLoginAttempt(attempt: LoginAttempt): void {
    this.#facts.loginAttempt = attempt;
    this.#found |= found.loginAttempt;
  }

  /**
   * Is this part of the checks done? A policy has counted the request, a token was not revoked, a throttle or a response cache
   * has let the request pass: no part is asked twice.
   */
  isDone(part: object): boolean {
    const { done1, done2, done3, furtherDone } = this.#shared;
    return done1 === part || done2 === part || done3 === part || furtherDone.includes(part);
  }

  /** The parts that are done. */
  get done(): readonly (object | undefined)[] {
    const { done1, done2, done3, furtherDone } = this.#shared;
    return [done1, done2, done3, ...furtherDone];
  }

  markDone(part: object): void {
    const shared = this.#shared;
    if (shared.done1 === undefined) shared.done1 = part;
    else if (shared.done2 === undefined) shared.done2 = part;
    else if (shared.done3 === undefined) shared.done3 = part;
    else shared.furtherDone = [...shared.furtherDone, part];
  }

  /** The request was refused before this part took effect: another middleware of the request does it anew. */
  markUndone(part: object): void {
    const shared = this.#shared;
    if (shared.done1 === part) shared.done1 = undefined;
    else if (shared.done2 === part) shared.done2 = undefined;
    else if (shared.done3 === part) shared.done3 = undefined;
    else shared.furtherDone = shared.furtherDone.filter((one) => one !== part);
  }

  /** The last refusal of this request by limits: the same counters refuse it again, without a second question. */
  get limitRefusal(): LimitRefusal | undefined {
    return this.#shared.refusal;
  }

  markLimited(keys: readonly string[], denial: Denied): void {
    this.#shared.refusal = { keys, denial };
  }

  /** Has the store recorded the DPoP proof with this key? Gates with other issuers have other keys for the same proof. */
  isProofRecorded(key: string): boolean {
    return this.#shared.proofs.includes(key);
  }

  markProofRecorded(key: string): void {
    this.#shared.proofs = [...this.#shared.proofs, key];
  }

  /**
   * Shows what this run of a middleware has found out on the framework's request or context, where handlers find it. What the
   * application has put there instead, or has removed, stays so unless the fact is new.
   */
  showFacts(target: object, property: string): void {
    const shown = target as Record<string, unknown>;
    const shared = this.#shared;
    if ((this.#found & found.auth) !== 0) this.#showAuth(shown, property);
    if ((this.#found & found.cache) !== 0 && !shared.cacheShown) {
      shown.cache = this.#facts.cache;
      shared.cacheShown = true;
    }
    // Handlers may rely on a list, also behind middleware that limits nothing.
    if ((this.#found & found.quotas) !== 0 || (!shared.quotasShown && shown.quotas === undefined)) {
      shown.quotas = this.#facts.quotas;
      shared.quotasShown = true;
    }
    if ((this.#found & found.loginAttempt) !== 0) shown.loginAttempt = this.#facts.loginAttempt;
  }

  /** Shows the quotas of a refusal by limits that is thrown, for the error handler of the application. */
  showRefusal(target: object, thrown: unknown): void {
    if (!(thrown instanceof DenialError) || thrown.quotas.length === 0) return;
    (target as { quotas?: readonly Quota[] }).quotas = [...this.#facts.quotas, ...thrown.quotas];
  }

  /**
   * `auth` replaces what this gate, or another one with the same property, has shown before; so does an undefined `auth`. A
   * value of the application is replaced only by an `auth` that is new at this gate.
   */
  #showAuth(shown: Record<string, unknown>, property: string): void {
    const { auth } = this.#facts;
    const record = this.#recordOf(property) ?? this;
    const own = this.#ownAuth;
    const isKnown = auth === undefined || (own !== undefined && auth.token === own.token);
    if (isKnown && shown[property] !== record.#lastAuth) return;
    shown[property] = auth;
    this.#ownAuth = auth;
    record.#property = property;
    record.#lastAuth = auth;
    record.#shownBy = this;
    this.#ownProperty = property;
  }

  /** The state at the gate that has shown a user last under a property. */
  #shownAs(property: string): RequestState | undefined {
    const record = this.#recordOf(property);
    return record === undefined ? undefined : record.#shownBy;
  }

  /** The state that keeps what gates have shown last under a property. */
  #recordOf(property: string): RequestState | undefined {
    let state: RequestState | undefined = this.first;
    while (state !== undefined && state.#property !== property) state = state.#next;
    return state;
  }
}

const firstExchange = Symbol("portcullis.exchange");

interface VisitedRequest<E> {
  [firstExchange]?: E | undefined;
}

/** The exchanges at the gates after the first one, by the exchange at the first one and by gate. */
const furtherExchanges = new WeakMap<GateExchange, Map<object, GateExchange>>();

/**
 * The exchange of a request at this attachment, made when it is first needed. A request may pass several gates, each with
 * issuers of its own: a user of one gate with the scopes of another would be a user whom neither gate knows. Middleware that
 * does not identify uses the first gate that does, so that a gate without `auth` limits the users of one that has it.
 */
export function exchangeFor<E extends GateExchange>(
  request: object,
  attachment: Attachment,
  make: (state: RequestState) => E,
): E {
  const exchange = findExchange(request, attachment, make);
  exchange.state.begin();
  return exchange;
}

function findExchange<E extends GateExchange>(
  request: object,
  { gate, identifies }: Attachment,
  make: (state: RequestState) => E,
): E {
  const visited: VisitedRequest<E> = request;
  const first = (visited[firstExchange] ??= make(new RequestState()));
  const { state } = first;
  if (state.gate === gate) return first;
  if (state.gate === undefined) {
    if (identifies) state.gate = gate;
    return first;
  }
  const known = furtherExchanges.get(first)?.get(gate);
  if (known !== undefined) return known as E;
  if (!identifies) return first;
  const further = make(new RequestState(state));
  further.state.gate = gate;
  furtherExchanges.set(first, (furtherExchanges.get(first) ?? new Map<object, GateExchange>()).set(gate, further));
  return further;
}
