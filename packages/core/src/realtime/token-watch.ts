import type { RevocationService } from "../revocation/revocations.js";
import type { SessionEnd, SessionEvents } from "../sessions/events.js";
import type { Keyspace } from "../store/keyspace.js";
import type { RevocationRecords } from "../store/ports/revocation.js";
import { stateOf } from "../store/ports/revocation.js";
import { isCutOff } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import { keysOf } from "./open-tokens.js";
import type { OpenToken, OpenTokens } from "./open-tokens.js";
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from "../lib/real-timers.js";

export interface TokenWatchOptions {
  readonly tokens: OpenTokens;
  readonly records: RevocationRecords;
  readonly events: Pick<SessionEvents, "subscribe">;
  readonly revocations: Pick<RevocationService, "questionOrFault">;
  readonly keys: Keyspace;
  readonly checkEveryMs: number;
}

/** All tokens are asked about for at most this part of the time. */
const maxShare = 0.25;

/**
 * Finds open tokens that were revoked, in three ways. Events of sessions end them at once, also while the store fails. The
 * store tells of changed keys, whoever has written them, and the tokens of these keys are asked about. And all tokens are asked
 * about every half second, and at once when messages may have been lost: so no way alone must work.
 */
export class TokenWatch {
  readonly #options: TokenWatchOptions;
  /** Tokens to ask about soon. */
  readonly #pending = new Set<OpenToken>();
  #isAskingPending = false;
  #isSweeping = false;
  #mustSweepAgain = false;
  #timer: NodeJS.Timeout | undefined;
  #stops: readonly (() => void)[] | undefined;
  #isDegraded = false;
  #tell: (isDegraded: boolean) => void = () => undefined;

  constructor(options: TokenWatchOptions) {
    this.#options = options;
  }

  /** Could the last question not be answered? */
  get isDegraded(): boolean {
    return this.#isDegraded;
  }

  onDegraded(listener: (isDegraded: boolean) => void): void {
    this.#tell = listener;
  }

  /** A connection with a new token was opened. */
  add(token: OpenToken): void {
    this.#link(token);
    this.#askSoon([token]);
  }

  start(): void {
    if (this.#stops !== undefined) return;
    const { records, events, tokens } = this.#options;
    this.#stops = [
      records.watch({
        changed: (key) => this.#askSoon(tokens.with(key)),
        missed: () => this.#sweepNow(),
      }),
      events.subscribe(
        (ending) => this.#end(ending),
        () => this.#sweepNow(),
      ),
    ];
    this.#sweepIn(this.#options.checkEveryMs);
  }

  /** Stops all questions and subscriptions, when no connection is open. */
  stop(): void {
    for (const stop of this.#stops ?? []) stop();
    this.#stops = undefined;
    this.#pending.clear();
    clearTimeout(this.#timer);
    this.#setDegraded(false);
  }

  get #isStarted(): boolean {
    return this.#stops !== undefined;
  }

  /** Finds the keys of a token. Shortly after the start of the process they are unknown, or may change. */
  #link(token: OpenToken): void {
    const { tokens, revocations, keys } = this.#options;
    if (!token.isPresumed) return;
    const question = revocations.questionOrFault(token.auth);
    tokens.link(token, question instanceof StoreFault ? undefined : question);
    token.isPresumed = question instanceof StoreFault || keys.isPresumed;
  }

  #askSoon(tokens: readonly OpenToken[]): void {
    if (tokens.length === 0) return;
    for (const token of tokens) this.#pending.add(token);
    if (this.#isAskingPending) return;
    this.#isAskingPending = true;
    // The questions of one turn go together.
    setImmediate(() => void this.#askPending());
  }

  async #askPending(): Promise<void> {
    while (this.#pending.size > 0) {
      const keys = new Set<string>();
      for (const token of this.#pending) {
        this.#link(token);
        for (const key of keysOf(token)) keys.add(key);
      }
      this.#pending.clear();
      await this.#ask([...keys], "some");
    }
    this.#isAskingPending = false;
  }

  #sweepIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#sweepNow(), ms).unref();
  }

  #sweepNow(): void {
    if (!this.#isStarted) return;
    if (this.#isSweeping) this.#mustSweepAgain = true;
    else void this.#sweep();
  }

  /** Asks about all tokens. Something may happen during the questions that has to be looked at after them. */
  async #sweep(): Promise<void> {
    const { tokens, checkEveryMs } = this.#options;
    const startedAt = monotonicNow();
    this.#isSweeping = true;
    this.#mustSweepAgain = false;
    for (const token of tokens.all()) this.#link(token);
    const isAnswered = await this.#ask(tokens.keys(), "all");
    this.#isSweeping = false;
    if (!this.#isStarted) return;
    if (this.#isCalledAgain()) return void this.#sweep();
    const tookMs = monotonicNow() - startedAt;
    // A store that does not answer is not busy with this question.
    const pauseMs = isAnswered ? Math.max(checkEveryMs - tookMs, tookMs / maxShare - tookMs) : checkEveryMs / 2;
    this.#sweepIn(pauseMs);
  }

  #isCalledAgain(): boolean {
    return this.#mustSweepAgain;
  }

  /** Asks about keys, and ends the tokens that their records revoke. Resolves to whether the store has answered. */
  async #ask(keys: readonly string[], which: "all" | "some"): Promise<boolean> {
    const { records, tokens } = this.#options;
    const { found, fault } = await records.find(keys);
    let isReadable = true;
    for (const key of found.keys()) {
      for (const token of tokens.with(key)) {
        const state = token.question === undefined ? "good" : stateOf(token.question, found);
        if (state === "unreadable") isReadable = false;
        else if (state !== "good") token.end(state);
      }
    }
    // The answer about some tokens says nothing about the others.
    if (fault !== undefined || !isReadable) this.#setDegraded(true);
    else if (which === "all") this.#setDegraded(!tokens.areLinked);
    return fault === undefined;
  }

  #setDegraded(isDegraded: boolean): void {
    if (this.#isDegraded === isDegraded || (isDegraded && !this.#isStarted)) return;
    this.#isDegraded = isDegraded;
    this.#tell(isDegraded);
  }

  /** Ends the tokens of an event. The store is not asked: it may have failed since, and the session has ended all the same. */
  #end({ issuer, principal, sessionIds, org, jti, cutoff }: SessionEnd): void {
    const { keys } = this.#options;
    const { issuers } = keys;
    try {
      if (jti !== undefined) this.#endAll(keys.revokedToken(issuers.under(issuer, jti)), "revoked");
      for (const id of sessionIds ?? []) this.#endAll(keys.sessionCutoff(issuers.under(issuer, id)), "session_ended");
      if (cutoff === undefined) return;
      if (principal !== undefined) this.#endAll(keys.subjectCutoff(principal), "session_ended", cutoff);
      if (org !== undefined) this.#endAll(keys.groupCutoff(issuers.under(issuer, org)), "session_ended", cutoff);
    } catch {
      // An event with names that are no identifiers, or whose keys are not known yet: the questions follow.
      this.#sweepNow();
    }
  }

  #endAll(key: string, reason: "revoked" | "session_ended", cutoff?: number): void {
    for (const token of this.#options.tokens.with(key)) {
      const { question } = token;
      if (cutoff === undefined || (question !== undefined && isCutOff(question, cutoff))) token.end(reason);
    }
  }
}
