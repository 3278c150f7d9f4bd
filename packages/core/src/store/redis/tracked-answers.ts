import { LRUCache } from "lru-cache";
import type { Answer, Question, DecisionStore, TokenQuestion } from "../ports/decisions.js";
import { StoreFault, faultForAll } from "../ports/decisions.js";
import type { RevocationStore, RevokeOptions } from "../ports/revocation.js";

/** What keeps local answers coherent: Redis' invalidations, and a proof that they are heard. */
export interface Invalidations {
  /** Has everything been heard that changed longer than this ago? */
  isAlive(withinMs: number): boolean;
}

export interface TrackedAnswersOptions {
  readonly store: DecisionStore & RevocationStore;
  readonly invalidations: Invalidations;
  /** How old a local answer may be. */
  readonly boundMs: number;
  /** Milliseconds from a monotonic clock. */
  readonly now?: () => number;
}

/** Keys known at once: of a token its record and its cut-offs. */
const capacity = 30_000;

/** What is known of one key. */
interface Known {
  /** No token issued then or later is revoked by it; of a record that does not exist, none at all. */
  readonly okFrom: number;
  readonly until: number;
}

/** A question under way. An invalidation of one of its keys makes its answer unfit to be kept. */
interface Mark {
  readonly keys: readonly string[];
  fit: boolean;
}

/**
 * Keeps the answer "not revoked" in this process, until Redis says that one of its keys was written, and for the bound at
 * most (design 6.1: `check: "tracked"`). Only trusted while the invalidations prove that they are heard; otherwise, and
 * for everything else, the store is asked as ever.
 */
export class TrackedAnswers implements DecisionStore, RevocationStore {
  readonly #store: TrackedAnswersOptions["store"];
  readonly #invalidations: Invalidations;
  readonly #boundMs: number;
  readonly #now: () => number;
  readonly #known = new LRUCache<string, Known>({ max: capacity });
  readonly #marks = new Map<string, Set<Mark>>();

  constructor({ store, invalidations, boundMs, now = () => performance.now() }: TrackedAnswersOptions) {
    this.#store = store;
    this.#invalidations = invalidations;
    this.#boundMs = boundMs;
    this.#now = now;
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const { token } = question;
    if (token === undefined) return this.#store.ask(question);
    if (this.#isKnownGood(token)) return this.#askTheRest(question);
    const askedAt = this.#now();
    const mark = this.#mark(token);
    const answer = this.#store.ask(question);
    if (!(answer instanceof Promise)) return this.#learn(answer, token, mark, askedAt);
    return answer.then((late) => this.#learn(late, token, mark, askedAt));
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

  /** This key may have changed. */
  invalidate(key: string): void {
    this.#known.delete(key);
    for (const mark of this.#marks.get(key) ?? []) mark.fit = false;
  }

  /** Every key may have changed. */
  flush(): void {
    this.#known.clear();
    for (const marks of this.#marks.values()) for (const mark of marks) mark.fit = false;
  }

  #askTheRest(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const answer = this.#store.ask({ ...question, token: undefined });
    return answer instanceof Promise
      ? answer.then((late) => withoutRevocation(late, question))
      : withoutRevocation(answer, question);
  }

  #isKnownGood({ revokedKey, cutoffKeys, issuedAt = Number.NEGATIVE_INFINITY }: TokenQuestion): boolean {
    if (!this.#invalidations.isAlive(this.#boundMs)) return false;
    const now = this.#now();
    const isGood = (key: string, at: number): boolean => {
      const known = this.#known.get(key);
      return known !== undefined && known.until > now && known.okFrom <= at;
    };
    return isGood(revokedKey, Number.NEGATIVE_INFINITY) && cutoffKeys.every((key) => isGood(key, issuedAt));
  }

  #mark({ revokedKey, cutoffKeys }: TokenQuestion): Mark {
    const mark = { keys: [revokedKey, ...cutoffKeys], fit: true };
    for (const key of mark.keys) {
      const marks = this.#marks.get(key);
      if (marks === undefined) this.#marks.set(key, new Set([mark]));
      else marks.add(mark);
    }
    return mark;
  }

  #unmark(mark: Mark): void {
    for (const key of mark.keys) {
      const marks = this.#marks.get(key);
      marks?.delete(mark);
      if (marks?.size === 0) this.#marks.delete(key);
    }
  }

  #learn(answer: Answer | StoreFault, token: TokenQuestion, mark: Mark, askedAt: number): Answer | StoreFault {
    this.#unmark(mark);
    if (answer instanceof StoreFault || answer.revoked !== false || !mark.fit) return answer;
    const { revokedKey, cutoffKeys, issuedAt = Number.NEGATIVE_INFINITY } = token;
    const until = askedAt + this.#boundMs;
    this.#known.set(revokedKey, { okFrom: Number.NEGATIVE_INFINITY, until });
    for (const key of cutoffKeys) this.#known.set(key, { okFrom: issuedAt, until });
    return answer;
  }
}

/** The token was answered here: not revoked, also where the store has nothing to say of the rest. */
function withoutRevocation(answer: Answer | StoreFault, question: Question): Answer {
  return { ...(answer instanceof StoreFault ? faultForAll(question, answer) : answer), revoked: false };
}
