/**
 * What the core asks of a store. The in-process store and the Redis store implement these ports and pass one contract
 * battery. A store that cannot answer says so with a {@link StoreFault} as a value: only bugs throw.
 */

import { OutageError } from "../../lib/outage.js";

export type { CacheEntry, CacheStore } from "./cache.js";

/** How a policy counts. */
export type Algorithm = "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";

/** Count `cost` against a limit, unless that would exceed it. */
export interface Consumption {
  /** Says which algorithm its value belongs to: one key never changes its algorithm. */
  readonly key: string;
  /** Requests (or units of cost) per window; of `concurrency`, requests at once. */
  readonly limit: number;
  /** Of `concurrency`: how long a slot is held unless it is renewed or released. */
  readonly windowSeconds: number;
  /** A whole number from 0; 0 asks without counting. */
  readonly cost: number;
  /** Everything but a plain fixed window, which is undefined. */
  readonly rule?: CountingMode | undefined;
  /** Of `token-bucket`: the most it holds. @default limit */
  readonly burst?: number | undefined;
  /** Of `concurrency`: the slot that this request takes. */
  readonly slot?: string | undefined;
  /** Where blocks of this client are kept; in the slot of `key`. Needs `rule.block`. */
  readonly blockKey?: string | undefined;
  /** A process may take a part of the quota and answer from it; a store in process has no need to. */
  readonly leased?: true | undefined;
  /** Whose counter this is when a table in process is full: nobody may fill more than a share of it. */
  readonly owner?: string | undefined;
}

/** What the charges of one policy have in common, beyond a plain fixed window. Their tallies bear a receipt. */
export interface CountingMode {
  readonly algorithm: Algorithm;
  /** Measured, never refused. */
  readonly shadow: boolean;
  readonly block: BlockRule | undefined;
}

/** Blocks a client who goes on after being refused. */
export interface BlockRule {
  /** Refusals within one window that lead to a block; 0 never does, so that only blocks made by hand apply. */
  readonly after: number;
  /** The first block; each further one is twice as long. */
  readonly firstMs: number;
  /** The longest; also how long a client must keep quiet for the next block to be a first one. */
  readonly longestMs: number;
}

/** Is this charge over its limit? Whether that refuses the request, its rule says. */
export function exceeds({ limit, burst }: Consumption, { consumed }: CounterState): boolean {
  return consumed > (burst === undefined || limit === 0 ? limit : burst);
}

/** Does this charge refuse its request? */
export function refuses(charge: Consumption, tally: CounterState): boolean {
  return exceeds(charge, tally) && charge.rule?.shadow !== true;
}

/** Is this token revoked: by itself, or by a cut-off time at or after its `iat`? */
export interface TokenQuestion {
  /** The token is revoked if this key exists. */
  readonly revokedKey: string;
  /** The token is revoked if one of these holds a time at or after `issuedAt`, or any time if `issuedAt` is undefined. */
  readonly cutoffKeys: readonly string[];
  /**
   * What cut-offs are compared with, in unix seconds: the token's `iat`, less the clock difference that its issuer is
   * forgiven.
   */
  readonly issuedAt: number | undefined;
}

/** Does a cut-off at this time revoke the token? */
export function isCutOff({ issuedAt }: TokenQuestion, cutoff: number): boolean {
  return issuedAt === undefined || issuedAt <= cutoff;
}

/** Something that is good once, such as a DPoP proof: recorded at its first use. */
export interface ReplayCheck {
  readonly key: string;
  /** How long a second use is recognised. */
  readonly ttlMs: number;
}

/**
 * Everything one request asks, answered together. In this order: the charges before the token, the token, its use, the
 * charges after it. The first refusal stops, and a refused request counts nowhere, except that a revoked token and a
 * repeated use still count against `beforeToken`: bad tokens cost their sender something.
 */
export interface Question {
  readonly beforeToken: readonly Consumption[];
  readonly token: TokenQuestion | undefined;
  readonly use?: ReplayCheck | undefined;
  readonly afterToken: readonly Consumption[];
}

/** One counter after the decision; see {@link exceeds}. */
export interface CounterState {
  /** With this request if it was admitted or refused here; without it if it was refused elsewhere. */
  readonly consumed: number;
  /** Milliseconds until more is available; if it is refused, until this charge would fit. */
  readonly resetMs: number;
  /** Of a charge with a rule that was counted: where, so that it can be adjusted. */
  readonly receipt?: number | undefined;
  /** Refused because this client is blocked, until `resetMs` from now. */
  readonly blocked?: true | undefined;
}

/** What a blocked client is told, whatever the counter holds. */
export function blockedState({ limit, burst = limit, cost }: Consumption, resetMs: number): CounterState {
  return { consumed: Math.max(limit, burst) + Math.max(1, cost), resetMs, blocked: true };
}

/** The answer to a {@link Question}: each part has an answer or a fault of its own; undefined means not reached. */
export interface Answer {
  readonly beforeToken: readonly (CounterState | StoreFault)[];
  readonly revoked: boolean | StoreFault | undefined;
  /** The latest cut-off of a token that is revoked by one, in unix seconds. */
  readonly cutoff?: number | undefined;
  /** Was {@link Question.use} used before? */
  readonly repeated?: boolean | StoreFault | undefined;
  readonly afterToken: readonly (CounterState | StoreFault | undefined)[];
}

export interface RevokeOptions {
  /** How many replicas must have the record too, within a second; else it rejects, though the master has it. @default 0 */
  readonly replicas?: number | undefined;
}

/** Decides about requests: the counters and the revocation records. */
export interface DecisionStore {
  /** Answers synchronously where it can. A fault means that nothing could be asked. */
  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault>;
  /** Records a revocation until `expiresAt` (unix seconds, by the store's clock). Rejects with a StoreFault. */
  revoke(key: string, expiresAt: number, options?: RevokeOptions): Promise<void>;
  /**
   * Moves a cut-off to now, by the store's clock, or to `at` (unix seconds) if that is earlier, and never back; keeps it for
   * `ttlSeconds`. Resolves to it in unix seconds.
   */
  cutOff(key: string, ttlSeconds: number, at?: number): Promise<number>;
  state(): StoreState;
  /** Fails what is waiting; nothing may be asked afterwards. */
  close(): void;
}

/** A correction of a charge that was counted: what is known when the request is done. */
export interface Adjustment {
  readonly charge: Consumption;
  /** As the tally said; of a slot, below 0 if nobody knows whether it was taken. */
  readonly receipt: number;
  /** Units to charge more, or to give back if below 0; of `concurrency`, above 0 holds the slot for another window. */
  readonly by: number;
}

/**
 * What becomes of charges after the request. Nobody waits for it. A correction that fails is repeated until its window has
 * ended, and takes effect once. What is lost with a process leaves a request counted, never uncounted, and a slot expires.
 */
export interface UsageCorrections {
  /** Corrects charges, within the window they were counted in: never below zero, nor in the window after it. */
  adjust(adjustments: readonly Adjustment[]): void;
  /** Holds slots of `concurrency` for another window, unless they were given back or have expired. */
  renew(charges: readonly Consumption[]): void;
  /**
   * Lets a slot of `concurrency` end after so long, unless it ends earlier: for a process that will not be there to give it
   * back. A store that ends with the process has nothing to do.
   */
  expire(charge: Consumption, afterMs: number): void;
}

/** `up`: answers; `degraded`: answers in part; `down`: does not answer. */
export interface StoreState {
  readonly kind: "memory" | "redis";
  readonly status: "up" | "degraded" | "down";
  /** What is wrong, in short fixed phrases. */
  readonly findings: readonly string[];
  /** Is the clock of this process known to be further from the store's than is forgiven? Then it judges no times. */
  readonly clockDiffers?: true | undefined;
}

/** Is the clock of this process known to be wrong, by that of the store? */
export function clockDiffers(store: Pick<DecisionStore, "state">): boolean {
  return store.state().clockDiffers === true;
}

/**
 * Why a store could not answer. `unreachable`, `timeout`, `open` (the breaker), `overloaded`, `refused` (the server
 * answers, but not this: OOM, READONLY, NOAUTH, LOADING, and such), `skewed` (our clock and the server's disagree), `lost`
 * (the server has lost data) are infrastructure; `unreadable` is a value under one key, or a client's reply, that does not say
 * what was asked for.
 */
export type FaultKind =
  "unreachable" | "timeout" | "open" | "overloaded" | "refused" | "skewed" | "lost" | "unreadable";

/**
 * The store could not answer. Thrown to the caller only by services used outside the guard, such as
 * `revocations.revoke`; Express and Koa then answer 503. Its message never holds a key or an argument.
 */
export class StoreFault extends OutageError {
  override readonly name = "StoreFault";
  readonly code = "store_unavailable";
  readonly kind: FaultKind;
  /** The server's error word, such as `OOM` or `READONLY`, where it gave one. */
  readonly reply: string | undefined;

  constructor(kind: FaultKind, reply?: string) {
    super(reply === undefined ? `the store is unavailable: ${kind}` : `the store is unavailable: ${kind} (${reply})`);
    this.kind = kind;
    this.reply = reply;
  }

  /** Is the store itself in trouble, as opposed to the value under one key? */
  get outage(): boolean {
    return this.kind !== "unreadable";
  }
}

/** Checks what {@link DecisionStore.cutOff} is asked for: NaN would revoke nothing. */
export function checkCutOff(ttlSeconds: number, at: number | undefined): void {
  if (!(Number.isSafeInteger(ttlSeconds) && ttlSeconds > 0))
    throw new RangeError("a cut-off is kept for whole seconds");
  if (at !== undefined && !(Number.isFinite(at) && at >= 0))
    throw new RangeError("a cut-off is a time in unix seconds");
}

/** The answer of a store that has nothing to say but why: the same fault for every part of the question. */
export function faultForAll({ beforeToken, token, use, afterToken }: Question, fault: StoreFault): Answer {
  return {
    beforeToken: beforeToken.map(() => fault),
    revoked: token === undefined ? undefined : fault,
    repeated: use === undefined ? undefined : fault,
    afterToken: afterToken.map(() => fault),
  };
}
