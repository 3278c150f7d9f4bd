import type { ConsumptionGroup } from "../../store/ports/decide.js";
import { decide, KnownChecks } from "../../store/ports/decide.js";
import type { Answer, Consumption, Question, DecisionStore, CounterState } from "../../store/ports/decisions.js";
import { withChanges, faultForAll, isRefusedToken, refuses } from "../../store/ports/decisions.js";
import { StoreFault } from "../../store/ports/fault.js";
import type { Reservation } from "./lease-manager.js";
import { LeaseManager } from "./lease-manager.js";
import type { LeaseRequest, LeaseSource } from "../../store/ports/leases.js";
import { clearInterval, clearTimeout, monotonicNow, setInterval, setTimeout } from "../../lib/real-timers.js";

export interface LeasedStoreOptions {
  readonly store: DecisionStore;
  readonly source: LeaseSource;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
  /** Maximum number of leases. @default 20_000 */
  readonly capacity?: number | undefined;
  /** How long renewals wait for each other, to share a call. They are early enough for that. @default 20 */
  readonly gatherMs?: number | undefined;
}

const sweepMs = 100;
const maxBatch = 64;
/** After this time an unanswered exchange no longer delays others. */
const exchangeTimeoutMs = 1000;
const maxInFlight = 2;
/** How long closing waits until points are given back. */
const quitTimeoutMs = 250;

/** A consumption, with the part of it that a lease covers. */
interface Part {
  readonly consumption: Consumption;
  readonly reservation: Reservation | undefined;
  /** The part that the store must count; undefined if the lease covers all. */
  readonly asked: Consumption | undefined;
}

/**
 * Answers consumptions with `leased` from the leases of this process where there is one, and asks the store for all
 * others. Points are reserved first, and used only if every other part of the question allows the request: the order of
 * a decision holds, and it counts all or nothing. Renewals are sent beside the requests, many in one call.
 */
export class LeasedStore implements DecisionStore {
  readonly #store: DecisionStore;
  readonly #source: LeaseSource;
  readonly #now: () => number;
  readonly #leases: LeaseManager;
  readonly #gatherMs: number;
  #gathering: NodeJS.Timeout | undefined;
  #sweeping: NodeJS.Timeout | undefined;
  #inFlight = 0;
  #closed = false;

  constructor({ store, source, now = monotonicNow, capacity, gatherMs = 20 }: LeasedStoreOptions) {
    this.#store = store;
    this.#source = source;
    this.#now = now;
    this.#leases = new LeaseManager({ now, capacity });
    this.#gatherMs = gatherMs;
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const { beforeToken, token, replayCheck, afterToken, refusesUnknown } = question;
    if (!beforeToken.some(isLeased) && !afterToken.some(isLeased)) return this.#store.ask(question);
    const now = this.#now();
    const first = this.#reserve(beforeToken, now);
    const last = covers(first, beforeToken) ? this.#reserve(afterToken, now) : undefined;
    this.#gather();
    let early: Answer | StoreFault | Promise<Answer | StoreFault> | undefined;
    if (last !== undefined && replayCheck === undefined && covers(last, afterToken)) {
      early = token === undefined ? unasked : this.#store.ask({ ...nothing, token, refusesUnknown });
      if ("revoked" in early && !isRefusedToken(question, early.revoked, undefined)) {
        return {
          beforeToken: coveredStates(first, now),
          revoked: early.revoked,
          afterToken: coveredStates(last, now),
        };
      }
    }
    const before = beforeToken.map((consumption, index) => split(consumption, first[index]));
    const others = last ?? this.#reserve(afterToken, now);
    const after = afterToken.map((consumption, index) => split(consumption, others[index]));
    if (early !== undefined)
      return early instanceof Promise
        ? early.then((reply) => this.#conclude(question, before, after, reply))
        : this.#conclude(question, before, after, early);
    const [askedBefore, askedAfter] = [asked(before), asked(after)];
    const rest = { beforeToken: askedBefore, token, replayCheck, afterToken: askedAfter, refusesUnknown };
    const answer = this.#store.ask(rest);
    return answer instanceof Promise
      ? answer.then((reply) => this.#conclude(question, before, after, reply))
      : this.#conclude(question, before, after, answer);
  }

  /** Gives back unused points, within a short time, and closes. */
  async end(): Promise<void> {
    this.#leases.drain();
    const calls: Promise<void>[] = [];
    while (this.#leases.hasRequests && this.#source.isUp()) calls.push(this.#exchange());
    this.close();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, quitTimeoutMs)));
    await Promise.race([Promise.all(calls), timeout]);
    clearTimeout(timer);
  }

  /** Ends renewals. The store that is asked stays open. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#gathering);
    clearInterval(this.#sweeping);
  }

  /** Reserves points for these consumptions. */
  #reserve(consumptions: readonly Consumption[], now: number): (Reservation | undefined)[] {
    const [only] = consumptions;
    // A literal takes no more memory than its one element needs.
    if (only !== undefined && consumptions.length === 1) return [this.#reserveOne(only, now)];
    return consumptions.map((consumption) => this.#reserveOne(consumption, now));
  }

  #reserveOne(consumption: Consumption, now: number): Reservation | undefined {
    return consumption.leased === true ? this.#leases.reserve(consumption, now) : undefined;
  }

  #conclude(question: Question, before: readonly Part[], after: readonly Part[], reply: Answer | StoreFault): Answer {
    const answer =
      reply instanceof StoreFault
        ? faultForAll({ ...question, beforeToken: asked(before), afterToken: asked(after) }, reply)
        : reply;
    const decision = decide(
      question,
      new LeasedGroup(this.#leases, before, answer.beforeToken),
      new LeasedGroup(this.#leases, after, answer.afterToken),
      new KnownChecks(answer),
    );
    this.#gather();
    return decision;
  }

  /** Schedules renewals, which share a call, and the end of lives. */
  #gather(): void {
    if (this.#closed) return;
    if (this.#leases.size > 0) this.#sweeping ??= setInterval(() => this.#sweep(), sweepMs).unref();
    if (this.#leases.hasRequests) this.#gathering ??= setTimeout(() => this.#renew(), this.#gatherMs).unref();
  }

  #sweep(): void {
    this.#leases.sweep();
    this.#gather();
    if (this.#leases.size > 0) return;
    clearInterval(this.#sweeping);
    this.#sweeping = undefined;
  }

  #renew(): void {
    this.#gathering = undefined;
    // Requests that come meanwhile are counted in the store.
    while (this.#leases.hasRequests && this.#inFlight < maxInFlight && this.#source.isUp()) void this.#exchange();
    this.#gather();
  }

  /** Never rejects. */
  async #exchange(): Promise<void> {
    const requests = this.#leases.collect(maxBatch);
    const sentAt = this.#now();
    let isOver = false;
    const leave = (): void => {
      if (!isOver) this.#inFlight -= 1;
      isOver = true;
    };
    const failAll = (): void => {
      if (!isOver) for (const request of requests) this.#leases.fail(request);
      leave();
    };
    this.#inFlight += 1;
    const timeout = setTimeout(failAll, exchangeTimeoutMs).unref();
    try {
      const answers = await this.#source.exchange(requests);
      this.#apply(requests, answers, sentAt);
    } catch {
      failAll();
    }
    clearTimeout(timeout);
    leave();
    this.#gather();
  }

  #apply(
    requests: readonly LeaseRequest[],
    answers: Awaited<ReturnType<LeaseSource["exchange"]>>,
    sentAt: number,
  ): void {
    requests.forEach((request, index) => {
      const grant = answers[index];
      if (grant === undefined || grant instanceof StoreFault) this.#leases.fail(request);
      else this.#leases.apply(request, grant, sentAt);
    });
  }
}

const nothing = { beforeToken: [], afterToken: [] } as const;
const unasked: Answer = { ...nothing, revoked: undefined };

function split(consumption: Consumption, reservation: Reservation | undefined): Part {
  if (reservation === undefined) return { consumption, reservation, asked: consumption };
  const rest = consumption.cost - reservation.points;
  return { consumption, reservation, asked: rest === 0 ? undefined : withChanges(consumption, { cost: rest }) };
}

/** Do the reservations cover the consumptions in full? */
function covers(reservations: readonly (Reservation | undefined)[], consumptions: readonly Consumption[]): boolean {
  for (let index = 0; index < consumptions.length; index += 1)
    if (reservations[index]?.points !== consumptions[index]?.cost) return false;
  return true;
}

/** The states of consumptions that their leases cover. */
function coveredStates(reservations: readonly (Reservation | undefined)[], now: number): CounterState[] {
  if (reservations.length === 1) return [stateOf(reservations[0], now)];
  return reservations.map((reservation) => stateOf(reservation, now));
}

function stateOf(reservation: Reservation | undefined, now: number): CounterState {
  const { consumed, held, windowEndsAt } = (reservation as Reservation).lease;
  return { consumed: consumed - held, resetMs: Math.max(0, windowEndsAt - now) };
}

function isLeased({ leased }: Consumption): boolean {
  return leased === true;
}

function asked(parts: readonly Part[]): Consumption[] {
  return parts.flatMap((part) => part.asked ?? []);
}

/** Consumptions of one question: a lease covers each in full or in part, or the store has counted it. */
class LeasedGroup implements ConsumptionGroup {
  readonly #leases: LeaseManager;
  readonly #parts: readonly Part[];
  /** The answers of the store, for the parts that were asked. */
  readonly #states: Answer["afterToken"];

  constructor(leases: LeaseManager, parts: readonly Part[], states: Answer["afterToken"]) {
    this.#leases = leases;
    this.#parts = parts;
    this.#states = states;
  }

  /** A lease never refuses. */
  refuses(): boolean {
    let next = 0;
    return this.#parts.some(({ asked: asks }) => asks !== undefined && refuses(asks, this.#states[next++]));
  }

  /** Notes the counts of the store, and puts back points if the store could not count the rest of their consumption. */
  count(): (CounterState | StoreFault)[] {
    let next = 0;
    for (const { consumption, reservation, asked: asks } of this.#parts) {
      if (asks === undefined) continue;
      const state = this.#states[next++];
      const fault = state instanceof StoreFault;
      if (!fault && consumption.leased === true) this.#leases.noteCounted(asks, state?.consumed ?? 0);
      else if (fault && reservation !== undefined) this.#leases.release(reservation);
    }
    return statesOf(this.#leases, this.#parts, this.#states);
  }

  leave(): (CounterState | StoreFault)[] {
    this.#release();
    return statesOf(this.#leases, this.#parts, this.#states);
  }

  skip(): (StoreFault | undefined)[] {
    this.#release();
    let next = 0;
    return this.#parts.map(({ asked: asks }) => {
      const state = asks === undefined ? undefined : this.#states[next++];
      return state instanceof StoreFault ? state : undefined;
    });
  }

  #release(): void {
    for (const { reservation } of this.#parts) if (reservation !== undefined) this.#leases.release(reservation);
  }
}

/** One state for each part: the answer of the store, or the state of the lease. */
function statesOf(
  leases: LeaseManager,
  parts: readonly Part[],
  states: Answer["afterToken"] = [],
): (CounterState | StoreFault)[] {
  let next = 0;
  return parts.map(({ reservation, asked: asks }) => {
    if (asks !== undefined || reservation === undefined) return states[next++] ?? new StoreFault("unreadable");
    const { lease } = reservation;
    return { consumed: lease.consumed - lease.held, resetMs: leases.resetMs(lease) };
  });
}
