import { TwoGenerationCache } from "../../lib/two-generation-cache.js";
import type { Answer, Question, DecisionStore, TokenQuestion } from "../ports/decisions.js";
import { faultForAll } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { RevocationStore, RevokeOptions } from "../ports/revocation.js";
import { monotonicNow } from "../../lib/real-timers.js";

/** The proof that invalidation messages arrive. */
export interface Invalidations {
  /** Has every invalidation arrived that is older than this? */
  isAlive(withinMs: number): boolean;
}

export interface TrackedAnswersOptions {
  readonly store: DecisionStore & RevocationStore;
  readonly invalidations: Invalidations;
  /** Maximum age of a local answer. */
  readonly maxAgeMs: number;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Maximum number of keys: a token has a record and cut-offs. */
const maxKeys = 30_000;

/** The known state of one key. */
interface Known {
  /** The key revokes no token that was issued at this time or later. Minus infinity if the key does not exist. */
  readonly okFrom: number;
  readonly until: number;
}

/** A question in progress. An invalidation of one of its keys ends the ticket: then the answer must not be kept. */
interface ReadTicket {
  readonly keys: readonly string[];
  isCurrent: boolean;
}

/**
 * Keeps the answer "not revoked" in this process (`check: "tracked"`), until Redis invalidates one of its keys, and for
 * `maxAgeMs` at most. A local answer is used only while invalidations are proven to arrive. Otherwise, and for all
 * other parts of a question, the store is asked.
 */
export class TrackedAnswers implements DecisionStore, RevocationStore {
  readonly #store: TrackedAnswersOptions["store"];
  readonly #invalidations: Invalidations;
  readonly #maxAgeMs: number;
  readonly #now: () => number;
  readonly #known = new TwoGenerationCache<string, Known>({ max: maxKeys });
  /** Another number after each key that was dropped. */
  #generation = 0;
  readonly #tickets = new Map<string, Set<ReadTicket>>();

  constructor({ store, invalidations, maxAgeMs, now = monotonicNow }: TrackedAnswersOptions) {
    this.#store = store;
    this.#invalidations = invalidations;
    this.#maxAgeMs = maxAgeMs;
    this.#now = now;
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const { token } = question;
    if (token === undefined) return this.#store.ask(question);
    if (this.#isKnownGood(token)) return this.#askTheRest(question);
    const askedAt = this.#now();
    const ticket = this.#openTicket(token);
    const answer = this.#store.ask(question);
    if (!(answer instanceof Promise)) return this.#learn(answer, token, ticket, askedAt);
    return answer.then((late) => this.#learn(late, token, ticket, askedAt));
  }

  async revoke(key: string, expiresAt: number, options?: RevokeOptions): Promise<void> {
    await this.#store.revoke(key, expiresAt, options);
    this.invalidate(key);
  }

  async cutOff(key: string, ttlSeconds: number, at?: number): Promise<number> {
    const cutoff = await this.#store.cutOff(key, ttlSeconds, at);
    this.invalidate(key);
    return cutoff;
  }

  /** Drops a key, which may have changed. */
  invalidate(key: string): void {
    this.#generation += 1;
    this.#known.delete(key);
    for (const ticket of this.#tickets.get(key) ?? []) ticket.isCurrent = false;
  }

  /** Drops all keys. */
  flush(): void {
    this.#generation += 1;
    this.#known.clear();
    for (const tickets of this.#tickets.values()) for (const ticket of tickets) ticket.isCurrent = false;
  }

  #askTheRest(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    if (question.beforeToken.length + question.afterToken.length === 0 && question.replayCheck === undefined)
      return notRevoked;
    const answer = this.#store.ask({ ...question, token: undefined });
    return answer instanceof Promise
      ? answer.then((late) => withoutRevocation(late, question))
      : withoutRevocation(answer, question);
  }

  #isKnownGood({ revokedKey, cutoffKeys, issuedAt = Number.NEGATIVE_INFINITY, note }: TokenQuestion): boolean {
    if (!this.#invalidations.isAlive(this.#maxAgeMs)) return false;
    const now = this.#now();
    if (note?.writer === this && note.generation === this.#generation && now < note.until) return true;
    let until = this.#goodUntil(revokedKey, Number.NEGATIVE_INFINITY);
    for (const key of cutoffKeys) until = Math.min(until, this.#goodUntil(key, issuedAt));
    if (until <= now) return false;
    if (note !== undefined) {
      note.writer = this;
      note.generation = this.#generation;
      note.until = until;
    }
    return true;
  }

  /** The time until which this key is known not to revoke a token of this time. */
  #goodUntil(key: string, at: number): number {
    const known = this.#known.get(key);
    return known !== undefined && known.okFrom <= at ? known.until : Number.NEGATIVE_INFINITY;
  }

  #openTicket({ revokedKey, cutoffKeys }: TokenQuestion): ReadTicket {
    const ticket = { keys: [revokedKey, ...cutoffKeys], isCurrent: true };
    for (const key of ticket.keys) {
      const tickets = this.#tickets.get(key);
      if (tickets === undefined) this.#tickets.set(key, new Set([ticket]));
      else tickets.add(ticket);
    }
    return ticket;
  }

  #closeTicket(ticket: ReadTicket): void {
    for (const key of ticket.keys) {
      const tickets = this.#tickets.get(key);
      tickets?.delete(ticket);
      if (tickets?.size === 0) this.#tickets.delete(key);
    }
  }

  #learn(answer: Answer | StoreFault, token: TokenQuestion, ticket: ReadTicket, askedAt: number): Answer | StoreFault {
    this.#closeTicket(ticket);
    if (answer instanceof StoreFault || answer.revoked !== false || !ticket.isCurrent) return answer;
    const { revokedKey, cutoffKeys, issuedAt = Number.NEGATIVE_INFINITY } = token;
    const until = askedAt + this.#maxAgeMs;
    this.#known.set(revokedKey, { okFrom: Number.NEGATIVE_INFINITY, until });
    for (const key of cutoffKeys) this.#known.set(key, { okFrom: issuedAt, until });
    return answer;
  }
}

const notRevoked: Answer = { beforeToken: [], revoked: false, afterToken: [] };

/** Adds the local answer "not revoked", even if the store has failed for the rest. */
function withoutRevocation(answer: Answer | StoreFault, question: Question): Answer {
  if (answer instanceof StoreFault) return { ...faultForAll(question, answer), revoked: false };
  const { beforeToken, replayed, afterToken } = answer;
  return replayed === undefined
    ? { revoked: false, beforeToken, afterToken }
    : { revoked: false, replayed, beforeToken, afterToken };
}
