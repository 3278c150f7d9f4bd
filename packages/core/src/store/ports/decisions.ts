import { StoreFault } from "./fault.js";

export type { CacheEntry, CacheStore } from "./cache.js";

/** The algorithm of a policy. */
export type Algorithm = "fixed-window" | "sliding-window" | "token-bucket" | "concurrency";

/** One policy applied to one request: counts `cost` against a limit, unless that would exceed the limit. */
export interface Consumption {
  /** The key of the counter. It contains the algorithm, so that one key never changes its algorithm. */
  readonly key: string;
  /** Requests (or units of cost) per window; with `concurrency`, requests at the same time. */
  readonly limit: number;
  /** With `concurrency`, how long a slot is held unless it is renewed or released. */
  readonly windowSeconds: number;
  /** A whole number from 0; 0 reads the counter without counting. */
  readonly cost: number;
  /** The counting mode; undefined is a plain fixed window. */
  readonly mode?: CountingMode | undefined;
  /** With `token-bucket`, the capacity of the bucket. @default limit */
  readonly burst?: number | undefined;
  /** With `concurrency`, the name of the slot that this request takes. */
  readonly slot?: string | undefined;
  /** The key of this client's block, in the hash slot of `key`. Needs `mode.block`. */
  readonly blockKey?: string | undefined;
  /** May a process take a lease on a part of the quota and answer from it? A store in process does not. */
  readonly leased?: true | undefined;
  /** Refuses the request if the value under `key` or `blockKey` cannot be read: then no other consumption counts. */
  readonly refusesUnreadable?: true | undefined;
  /** Lease of the last request, for a store that leases; only if the same object is used for many requests. */
  readonly note?: ConsumptionNote | undefined;
  /** The owner of the counter. An owner may fill only a share of a table in process. */
  readonly owner?: string | undefined;
}

/** The same consumption with changes; not a spread, since the object may be more than a consumption. */
export function withChanges(consumption: Consumption, changes: Partial<Consumption>): Consumption {
  const { key, limit, windowSeconds, cost, mode, burst, slot, blockKey, leased, refusesUnreadable, note, owner } =
    consumption;
  const own = { key, limit, windowSeconds, cost, mode, burst, slot, blockKey, leased, refusesUnreadable, note, owner };
  return Object.assign(own, changes);
}

export interface ConsumptionNote {
  /** The lease that covered this consumption last. */
  lease: object | undefined;
}

/**
 * The algorithm of a policy, with its block and shadow. A consumption that has one gets a receipt when it is counted.
 */
export interface CountingMode {
  readonly algorithm: Algorithm;
  /** Counts and measures, and never refuses. */
  readonly shadow: boolean;
  readonly block: BlockRule | undefined;
}

/** Blocks a client that goes on although it is refused. */
export interface BlockRule {
  /** The number of refusals within one window that leads to a block. With 0 only blocks by an operator apply. */
  readonly after: number;
  /** Duration of the first block. Each further block is twice as long. */
  readonly firstMs: number;
  /** The maximum duration of a block. A client that was quiet for this time begins with a first block again. */
  readonly maxMs: number;
  /** Does a refusal during a block begin the block again, with its duration? @default false */
  readonly extends?: boolean | undefined;
}

/** Is this consumption over its limit? {@link refuses} says whether that refuses the request. */
export function exceeds({ limit, burst }: Consumption, { consumed }: CounterState): boolean {
  return consumed > (burst === undefined || limit === 0 ? limit : burst);
}

/**
 * Does this consumption refuse its request? One that the store could not count does not, unless it refuses unreadable
 * values: those the store has seen before it counted anything.
 */
export function refuses(consumption: Consumption, state: CounterState | StoreFault | undefined): boolean {
  if (state === undefined) return false;
  if (state instanceof StoreFault) return consumption.refusesUnreadable === true && state.reply === "WRONGTYPE";
  return exceeds(consumption, state) && consumption.mode?.shadow !== true;
}

/** Does one of these consumptions refuse their request? The states are in their order. */
export function someRefuses(
  consumptions: readonly Consumption[],
  states: readonly (CounterState | StoreFault | undefined)[],
): boolean {
  return consumptions.some((consumption, index) => refuses(consumption, states[index]));
}

/** Is this token revoked: by a record of its own, or by a cut-off at or after its `iat`? */
export interface TokenQuestion {
  /** The token is revoked if this key exists. */
  readonly revokedKey: string;
  /**
   * The token is revoked if a cut-off under these keys is at or after `issuedAt`; without `issuedAt`, by any cut-off.
   */
  readonly cutoffKeys: readonly string[];
  /**
   * The time that is compared with cut-offs, in unix seconds: the `iat` of the token, less the clock difference that
   * its issuer is allowed.
   */
  readonly issuedAt: number | undefined;
  /** Local answer about the token, for a store that keeps answers; only if the same object is used for many requests. */
  readonly note?: QuestionNote | undefined;
}

/** The local answer that a token is not revoked. */
export interface QuestionNote {
  /** The store that has answered; undefined for none. */
  writer: object | undefined;
  /** The answer holds while the store has this number. */
  generation: number;
  until: number;
}

/** Does a cut-off at this time revoke the token? */
export function isCutOff({ issuedAt }: TokenQuestion, cutoff: number): boolean {
  return issuedAt === undefined || issuedAt <= cutoff;
}

/** The replay check of something that may be used once, such as a DPoP proof. The first use is recorded. */
export interface ReplayCheck {
  readonly key: string;
  /** How long the first use is remembered. */
  readonly ttlMs: number;
}

/**
 * Everything that one request asks of the store, answered together, in the order of `decide` (store/ports/decide.ts).
 */
export interface Question {
  readonly beforeToken: readonly Consumption[];
  readonly token: TokenQuestion | undefined;
  readonly replayCheck?: ReplayCheck | undefined;
  readonly afterToken: readonly Consumption[];
  /**
   * Is the request refused if the store cannot say whether the token is revoked? Then such a fault ends the decision
   * as a revoked token does. @default false
   */
  readonly refusesUnknown?: boolean | undefined;
}

/** A counter after the decision; see {@link exceeds}. */
export interface CounterState {
  /** Includes this request if it was allowed, or refused by this counter; not if it was refused elsewhere. */
  readonly consumed: number;
  /** Milliseconds until more is available; after a refusal, until this consumption would fit. */
  readonly resetMs: number;
  /** The place where a consumption with a counting mode was counted, so that it can be adjusted. */
  readonly receipt?: number | undefined;
  /** The client is blocked until `resetMs` from now. */
  readonly blocked?: true | undefined;
}

/** The counter state of a blocked client, whatever the counter holds. */
export function blockedState({ limit, burst = limit, cost }: Consumption, resetMs: number): CounterState {
  return { consumed: Math.max(limit, burst) + Math.max(1, cost), resetMs, blocked: true };
}

/** The answer to a {@link Question}. Each part has a result or a fault of its own; undefined means not reached. */
export interface Answer {
  readonly beforeToken: readonly (CounterState | StoreFault)[];
  readonly revoked: boolean | StoreFault | undefined;
  /** The latest cut-off that revokes the token, in unix seconds. */
  readonly cutoff?: number | undefined;
  /** Is {@link Question.replayCheck} a replay? */
  readonly replayed?: boolean | StoreFault | undefined;
  readonly afterToken: readonly (CounterState | StoreFault | undefined)[];
}

/** Do the checks of the token end the decision? */
export function isRefusedToken(
  { refusesUnknown }: Pick<Question, "refusesUnknown">,
  revoked: Answer["revoked"],
  replayed: Answer["replayed"],
): boolean {
  if (revoked === true || (replayed !== undefined && replayed !== false)) return true;
  return refusesUnknown === true && revoked instanceof StoreFault;
}

/** Decides about requests, by the counters and the revocation records. */
export interface DecisionStore {
  /** Answers synchronously where it can. A fault means that the store could not be asked at all. */
  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault>;
}

/** A correction of a consumption that was counted, made when the request has ended. */
export interface Adjustment {
  readonly consumption: Consumption;
  /** The receipt of the counter state. Of a slot, below 0 if it is unknown whether it was taken. */
  readonly receipt: number;
  /**
   * Units to count in addition, or to give back if below 0. With `concurrency`, above 0 holds the slot for another
   * window.
   */
  readonly by: number;
}

/**
 * Corrections of consumptions after the request. No request waits for them. A correction that fails is repeated until
 * its window has ended, and takes effect once. If a process dies, its requests stay counted, and its slots expire.
 */
export interface UsageCorrections {
  /**
   * Corrects consumptions within the window that they were counted in: never below zero, and never in a later window.
   */
  adjust(adjustments: readonly Adjustment[]): void;
  /** Holds slots of `concurrency` for another window, unless they were given back or have expired. */
  renew(consumptions: readonly Consumption[]): void;
  /**
   * Ends a slot of `concurrency` after `afterMs`, unless it ends earlier: for a process that is about to end. A store
   * in process does nothing.
   */
  expire(consumption: Consumption, afterMs: number): void;
}

/** An answer with the same fault for every part of the question. */
export function faultForAll({ beforeToken, token, replayCheck, afterToken }: Question, fault: StoreFault): Answer {
  return {
    beforeToken: beforeToken.map(() => fault),
    revoked: token === undefined ? undefined : fault,
    replayed: replayCheck === undefined ? undefined : fault,
    afterToken: afterToken.map(() => fault),
  };
}
