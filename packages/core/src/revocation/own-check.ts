import { GrowingLru } from "../lib/growing-lru.js";
import type { Auth } from "../auth/claims.js";
import type { Answer, DecisionStore, Question, TokenQuestion } from "../store/ports/decisions.js";
import { faultForAll, isRefusedToken, someRefuses } from "../store/ports/decisions.js";
import { steadyNow } from "../lib/steady-clock.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/** Tells whether a token is revoked by records of the application. Only `true` revokes, and only `false` does not. */
export type RevocationTest = (auth: Auth) => boolean | Promise<boolean>;

export interface OwnCheckOptions {
  readonly isRevoked: RevocationTest;
  /** Maximum wait for the function. An answer that is later counts as none. */
  readonly deadlineMs: number;
  /** Forgets that a token is revoked. */
  readonly forget: (question: TokenQuestion) => void;
  readonly logger: Logger;
}

type NoteAnswer = (token: TokenQuestion, revoked: boolean | StoreFault) => void;

/** Maximum number of refused tokens that are kept. */
const maxRefused = 10_000;

const warningPauseMs = 30_000;

/**
 * Asks a function of the application about tokens that the records of the gate do not revoke. It does so between two questions
 * to the store, so that a revoked token uses up no quota of its user. The limits of an address have counted by then.
 */
export class OwnCheck {
  readonly #options: OwnCheckOptions;
  readonly #auths = new WeakMap<TokenQuestion, Auth>();
  /** The tokens that the function revoked last, by the key of their record: it may accept them again. */
  readonly #refused = new GrowingLru<string, true>({ max: maxRefused });
  #isFailing = false;
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(options: OwnCheckOptions) {
    this.#options = options;
  }

  /** Notes the token that a question is about. */
  note(question: TokenQuestion, auth: Auth): void {
    this.#auths.set(question, auth);
  }

  /** A store that answers for both. */
  beside(store: DecisionStore): DecisionStore {
    return this.#beside(store, (token, revoked) => this.#noteAnswer(token, revoked));
  }

  /** The same, for an explanation: it notes nothing. */
  previewBeside(store: DecisionStore): DecisionStore {
    return this.#beside(store, () => undefined);
  }

  #beside(store: DecisionStore, note: NoteAnswer): DecisionStore {
    return {
      ask: (question) => {
        const auth = question.token === undefined ? undefined : this.#auths.get(question.token);
        return auth === undefined ? store.ask(question) : this.#askBoth(store, question, auth, note);
      },
    };
  }

  async #askBoth(store: DecisionStore, question: Question, auth: Auth, note: NoteAnswer): Promise<Answer> {
    const { beforeToken, afterToken } = question;
    const first = orFaults(await store.ask({ ...question, afterToken: [] }), { ...question, afterToken: [] });
    const unreached: Answer = { ...first, afterToken: afterToken.map(() => undefined) };
    const isRefused = someRefuses(beforeToken, first.beforeToken);
    if (isRefused || isRefusedToken(question, first.revoked, first.replayed)) return unreached;
    const theirs = await this.ask(auth);
    if (question.token !== undefined) note(question.token, theirs);
    const revoked = theirs === false ? first.revoked : theirs;
    if (isRefusedToken(question, revoked, first.replayed)) return { ...unreached, revoked };
    if (afterToken.length === 0) return { ...first, revoked };
    const rest: Question = { beforeToken: [], token: undefined, afterToken };
    return { ...first, revoked, afterToken: orFaults(await store.ask(rest), rest).afterToken };
  }

  /** The gate remembers revoked tokens for outages. A user who was let in again must not be signed out by the next one. */
  #noteAnswer(token: TokenQuestion, revoked: boolean | StoreFault): void {
    if (revoked === true) this.#refused.set(token.revokedKey, true);
    else if (revoked === false && this.#refused.delete(token.revokedKey)) this.#options.forget(token);
  }

  /** The answer of the function, or a fault. */
  async ask(auth: Auth): Promise<boolean | StoreFault> {
    const { isRevoked, deadlineMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new StoreFault("timeout");
    const deadline = new Promise<StoreFault>((resolve) => {
      timer = setTimeout(() => resolve(late), deadlineMs);
    });
    try {
      const answer: unknown = await Promise.race([Promise.resolve().then(() => isRevoked(auth)), deadline]);
      if (answer === late) {
        this.#warn(new Error(`it did not answer within ${deadlineMs} ms`));
        return late;
      }
      if (typeof answer !== "boolean") throw new TypeError(`it returned ${typeof answer} instead of true or false`);
      this.#isFailing = false;
      return answer;
    } catch (error) {
      this.#warn(error);
      return new StoreFault("unreachable");
    } finally {
      clearTimeout(timer);
    }
  }

  /** Once for each failure, and not again and again for a function that fails for some tokens only. */
  #warn(error: unknown): void {
    if (this.#isFailing || steadyNow() - this.#warnedAt < warningPauseMs) return;
    this.#isFailing = true;
    this.#warnedAt = steadyNow();
    this.#options.logger.warn(
      { err: error },
      "portcullis: the function revocation.isRevoked failed; tokens are treated as revocation.onStoreError says",
    );
  }
}

function orFaults(answer: Answer | StoreFault, question: Question): Answer {
  return answer instanceof StoreFault ? faultForAll(question, answer) : answer;
}
