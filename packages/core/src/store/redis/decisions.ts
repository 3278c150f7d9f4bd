import { GrowingLru } from "../../lib/growing-lru.js";
import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import type { Answer, UsageCorrections, Question, DecisionStore } from "../ports/decisions.js";
import { faultForAll } from "../ports/decisions.js";
import { StoreFault } from "../ports/fault.js";
import type { StoreHealth, StoreState } from "../ports/health.js";
import type { RevocationStore, RevokeOptions } from "../ports/revocation.js";
import { checkCutOff } from "../ports/revocation.js";
import type { Logger } from "../../telemetry/logger.js";
import { AdjustmentQueue } from "./usage-corrections.js";
import { decideBatch, RefusedCounters } from "./decide-batch.js";
import { Batcher } from "./batcher.js";

import { decideAcrossSlots } from "./cluster.js";
import { Telemetry } from "../../telemetry/telemetry.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import { GiveBacks } from "./give-backs.js";
import { readInteger, readTime } from "./replies.js";
import { ReplicatedWriter } from "./replicated.js";
import { cutOffScript, revokeScript } from "./scripts/revocation.js";
import type { Script } from "./scripts/lua.js";
import { monotonicNow } from "../../lib/real-timers.js";
import { isTimeFake } from "../../lib/steady-clock.js";

export interface RedisDecisionStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
  readonly logger?: Logger | undefined;
  /** The key of the numbers of give-backs of this process. @default a key without a prefix */
  readonly giveBackKey?: ((tag: string, process: string) => string) | undefined;
  /** Tolerated difference between the clocks of this process and of Redis. Beyond it, "not revoked" is not trusted. */
  readonly clockToleranceMs: number;
}

/** Maximum number of questions of one script call: more would delay other clients of a shared Redis. */
const maxBatch = 64;

/** Enough for one call in each turn of the event loop, up to a Redis some milliseconds away. */
const maxInFlight = 8;

/** Tokens known to be revoked, which are asked about before their limits on a Cluster. */
const maxRevokedKeys = 10_000;

interface Item {
  readonly question: Question;
  /** False while writes fail: then only the token is asked about. */
  readonly isCounted: boolean;
}

/** Counters and revocation records in Redis. The questions of concurrent requests are one call. */
export class RedisDecisionStore implements DecisionStore, RevocationStore, StoreHealth {
  readonly #connection: Connection;
  readonly #deadlineMs: number;
  readonly #clocks: ClockComparison;
  readonly #batcher: Batcher<Item, Answer>;
  /** Reads may work while writes fail (OOM, MISCONF, READONLY), so that each has a breaker. */
  readonly #reads: Breaker;
  readonly #writes: Breaker;
  readonly #replicated: ReplicatedWriter;
  readonly #revokedKeys = new GrowingLru<string, true>({ max: maxRevokedKeys });
  readonly #refused = new RefusedCounters();
  /** Corrections of consumptions. */
  readonly corrections: UsageCorrections;
  /** The give-backs of corrections, and of other counters on the same connection. */
  readonly giveBacks: GiveBacks;

  constructor(options: RedisDecisionStoreOptions) {
    const { connection, deadlineMs, clockToleranceMs, telemetry = new Telemetry() } = options;
    const { logger = silent, giveBackKey = keyOfGiveBacks } = options;
    this.#reads = new Breaker({ name: "redis.security", telemetry });
    this.#writes = new Breaker({ name: "redis.security.writes", telemetry });
    this.#connection = connection;
    this.#replicated = new ReplicatedWriter(connection);
    this.#deadlineMs = deadlineMs;
    this.#clocks = new ClockComparison(clockToleranceMs);
    this.#batcher = new Batcher({
      send: (items) => this.#send(items),
      breaker: this.#reads,
      judge: (items, answers) => this.#judge(items, answers),
      giveUp: (_items, fault) => {
        this.#writes.abandon();
        connection.unreadable?.("batch", fault);
      },
      observe: (call) => telemetry.storeCalled({ store: "security", ...call }),
      wait: connection.wait,
      deadlineMs,
      maxBatch,
      maxInFlight,
    });
    this.giveBacks = new GiveBacks({
      connection,
      memoryKey: giveBackKey,
      isWell: () => this.#writes.state === "closed",
      mayCall: () => !this.#writes.isHeld,
      ...{ telemetry, logger },
    });
    this.corrections = new AdjustmentQueue(this.giveBacks);
    connection.onConnect(() => {
      for (const breaker of [this.#reads, this.#writes]) breaker.allowProbe();
      // A process with a wrong clock may refuse every token, and so ask no questions that show the time.
      this.#askTime();
    });
    connection.wait?.onEnd(() => this.#batcher.wake());
    if (connection.isUp()) this.#askTime();
  }

  ask(question: Question): Answer | StoreFault | Promise<Answer | StoreFault> {
    const { beforeToken, token, replayCheck, afterToken } = question;
    const writes = beforeToken.length + afterToken.length + (replayCheck === undefined ? 0 : 1);
    if (writes === 0 && token === undefined) return { beforeToken: [], revoked: undefined, afterToken: [] };
    const isCounted = writes > 0 && this.#writes.enter();
    if (!isCounted && token === undefined) return new StoreFault("open");
    const answer = this.#batcher.ask({ question, isCounted });
    if (isCounted && answer instanceof StoreFault) this.#writes.abandon();
    return answer;
  }

  async revoke(key: string, expiresAt: number, { replicas = 0 }: RevokeOptions = {}): Promise<void> {
    if (replicas > 0) await this.#replicated.write(revokeScript, [key], [expiresAt], replicas);
    else await this.#write(revokeScript, key, expiresAt);
  }

  async cutOff(key: string, ttlSeconds: number, at?: number): Promise<number> {
    checkCutOff(ttlSeconds, at);
    return this.#write(cutOffScript, key, ttlSeconds, at === undefined ? "" : Math.floor(at));
  }

  get breakers(): readonly [reads: BreakerControl, writes: BreakerControl] {
    return [this.#reads, this.#writes];
  }

  state(): StoreState {
    const findings: string[] = [];
    if (!this.#connection.isUp()) findings.push("not connected");
    if (this.#reads.state !== "closed") findings.push("calls fail");
    if (this.#writes.state !== "closed") findings.push("writes fail");
    const differs = this.#clocks.differs();
    if (differs) {
      findings.push("its clock and ours disagree");
      // While the machine sleeps, only the wall clock goes on.
      this.#askTime();
    }
    const down = !this.#connection.isUp() || this.#reads.state !== "closed";
    const status = down ? "down" : findings.length > 0 ? "degraded" : "up";
    return { kind: "redis", status, findings, ...(differs ? { clockDiffers: true } : {}) };
  }

  /** Ends questions. Give-backs are still sent, until `giveBacks` is closed too. */
  close(): void {
    this.#batcher.close();
    this.#replicated.close();
  }

  /** Runs a script that writes. Rejects if its reply cannot be read: then the write is uncertain. */
  async #write(script: Script, key: string, ...args: (number | string)[]): Promise<number> {
    return callWithin(
      this.#deadlineMs,
      this.#connection,
      async () => readInteger(await runScript(this.#connection.client, script, [key], args)),
      "revocation",
    );
  }

  async #send(items: readonly Item[]): Promise<Answer[]> {
    const sentAt = monotonicNow();
    const { client, isCluster } = this.#connection;
    // Whom the clocks refuse, no limit may count.
    const isSkewed = this.#clocks.differs();
    const questions = items.map(({ question, isCounted }) => {
      if (!isCounted) return withoutConsumptions(question);
      return isSkewed && isRefusedBySkew(question) ? { ...question, afterToken: [] } : question;
    });
    const refused = this.#refused;
    const { answers, serverTimeMs } = isCluster
      ? await decideAcrossSlots(client, questions, {
          partMs: this.#deadlineMs * 0.8,
          quotas: this.corrections,
          revokedKeys: this.#revokedKeys,
          refused,
        })
      : await decideBatch(client, questions, { refused });
    if (Number.isNaN(serverTimeMs)) this.#askTime();
    else this.#clocks.compare(sentAt, serverTimeMs);
    const isSkewedNow = this.#clocks.differs();
    return answers.map((answer, index) => this.#complete(items[index], answer, isSkewed, isSkewedNow));
  }

  /** Asks for the time, at most once a second. In a Cluster, only answers with consumptions contain it. */
  #askTime(): void {
    const sentAt = monotonicNow();
    if (sentAt - this.#clocks.comparedAt < compareMs) return;
    this.#clocks.begin();
    this.#connection.client
      .call("TIME")
      .then((time) => this.#clocks.compare(sentAt, readTime(time)))
      .catch((error: unknown) => this.#connection.unreadable?.("clock", error));
  }

  #judge(items: readonly Item[], answers: readonly (Answer | StoreFault)[]): void {
    let readsFail = false;
    let hasCounted = false;
    let writeFault: StoreFault | undefined;
    for (let index = 0; index < answers.length; index += 1) {
      const answer = answers[index];
      const part = answer === undefined || answer instanceof StoreFault ? nothing : answer;
      this.#tellUnreadable(part);
      readsFail ||= isServerFault(part.revoked);
      if (items[index]?.isCounted !== true) continue;
      hasCounted = true;
      writeFault = worse(writeFault, serverFaultOfWrites(part));
    }
    if (readsFail) this.#reads.fail();
    else this.#reads.succeed();
    if (!hasCounted) return;
    if (writeFault === undefined) return this.#writes.succeed();
    this.#writes.fail();
    if (this.#writes.state === "open" && writeFault.reply === "READONLY") this.#connection.leaveReplica();
  }

  /**
   * Reports parts that cannot be read. A wrong value under one key is no fault of the batch, so that no other code
   * reports it.
   */
  #tellUnreadable({ beforeToken, revoked, replayed, afterToken }: Answer): void {
    const { unreadable: tell } = this.#connection;
    if (tell === undefined) return;
    if (revoked instanceof StoreFault) tell("revocation", revoked);
    if (replayed instanceof StoreFault) tell("proof", replayed);
    tellFaults(beforeToken, tell);
    tellFaults(afterToken, tell);
  }

  #complete(item: Item | undefined, reply: Answer, wasSkewed: boolean, isSkewed: boolean): Answer {
    if (item === undefined) return reply;
    const { isCounted, question } = item;
    if (isCounted && !wasSkewed && !isSkewed) return reply;
    const isLeftOut = wasSkewed && isCounted && isRefusedBySkew(question);
    const answer = isLeftOut || isSkewed ? withoutTrust(reply) : reply;
    if (isLeftOut) return { ...answer, afterToken: question.afterToken.map(() => undefined) };
    if (isCounted || isAboutTokenAlone(question)) return answer;
    const unwritten = faultForAll(question, new StoreFault("open"));
    const { revoked } = answer;
    return { ...unwritten, revoked, ...(answer.cutoff === undefined ? undefined : { cutoff: answer.cutoff }) };
  }
}

/**
 * With a wrong clock, an expired token or an old proof may look valid: then "not revoked" and "no replay" are faults.
 * They are also faults if the limits after the token were left out, and the clocks agree since this answer.
 */
function withoutTrust(answer: Answer): Answer {
  const { revoked, replayed } = answer;
  if (revoked !== false && replayed !== false) return answer;
  const skewed = new StoreFault("skewed");
  return {
    ...answer,
    revoked: revoked === false ? skewed : revoked,
    replayed: replayed === false ? skewed : replayed,
  };
}

const silent: Logger = { debug: () => undefined, warn: () => undefined };

function keyOfGiveBacks(tag: string, process: string): string {
  return `portcullis:give-backs:{${tag}}:${process}`;
}

/** Minimum interval of the comparison of clocks. */
const compareMs = 1000;

const nothing: Answer = { beforeToken: [], revoked: undefined, afterToken: [] };

/** Is this a fault of the server, and not of one key or of a clock? */
function isServerFault(part: unknown): part is StoreFault {
  return part instanceof StoreFault && part.outage && part.kind !== "skewed";
}

/** The fault of the server that kept it from writing a part of the answer. READONLY tells most. */
function serverFaultOfWrites({ beforeToken, replayed, afterToken }: Answer): StoreFault | undefined {
  const fault = isServerFault(replayed) ? replayed : undefined;
  return worstOf(afterToken, worstOf(beforeToken, fault));
}

// Loops by index: an iterator for each list of each answer costs more than the look at its one state.
function worstOf(states: Answer["afterToken"], fault: StoreFault | undefined): StoreFault | undefined {
  let worst = fault;
  for (let index = 0; index < states.length; index += 1) {
    const state = states[index];
    if (isServerFault(state)) worst = worse(worst, state);
  }
  return worst;
}

function tellFaults(states: Answer["afterToken"], tell: (about: "limit", fault: StoreFault) => void): void {
  for (let index = 0; index < states.length; index += 1) {
    const state = states[index];
    if (state instanceof StoreFault) tell("limit", state);
  }
}

function worse(one: StoreFault | undefined, other: StoreFault | undefined): StoreFault | undefined {
  return one === undefined || other?.reply === "READONLY" ? (other ?? one) : one;
}

function isAboutTokenAlone({ beforeToken, replayCheck, afterToken }: Question): boolean {
  return beforeToken.length + afterToken.length === 0 && replayCheck === undefined;
}

/** Has the request limits after the token, and is it refused before them if the clocks differ? No proof is new then. */
function isRefusedBySkew({ token, replayCheck, afterToken, refusesUnknown }: Question): boolean {
  if (afterToken.length === 0) return false;
  return replayCheck !== undefined || (token !== undefined && refusesUnknown === true);
}

function withoutConsumptions({ token }: Question): Question {
  return { beforeToken: [], token, afterToken: [] };
}

/**
 * Compares the wall clock of this process with Redis' time. Redis' time is kept relative to the monotonic clock, so
 * that a jump of the wall clock is detected without another question, even if every token is refused and nothing is
 * asked.
 */
export class ClockComparison {
  readonly #toleranceMs: number;
  /** Redis' time minus the monotonic clock. */
  #offsetMs: number | undefined;
  /** Maximum error of the offset: Redis has read its clock at some time between request and reply. */
  #uncertaintyMs = 0;
  #comparedAt = Number.NEGATIVE_INFINITY;

  constructor(toleranceMs: number) {
    this.#toleranceMs = toleranceMs;
  }

  /** The time of the last comparison, finished or in progress, by the monotonic clock. */
  get comparedAt(): number {
    return this.#comparedAt;
  }

  /** Notes that a comparison is in progress. */
  begin(): void {
    this.#comparedAt = monotonicNow();
  }

  /** Notes Redis' time in the reply to a request that was sent at `sentAt`, by the monotonic clock. */
  compare(sentAt: number, serverTimeMs: number): void {
    // A reply without a time says nothing about the clocks.
    if (!(serverTimeMs > 0)) return;
    const now = monotonicNow();
    this.#comparedAt = now;
    this.#offsetMs = serverTimeMs - (sentAt + now) / 2;
    this.#uncertaintyMs = (now - sentAt) / 2;
  }

  /** Do the clocks differ by more than the tolerance? False while that is unknown, and while a test fakes the time. */
  differs(): boolean {
    if (this.#offsetMs === undefined || isTimeFake()) return false;
    const apartMs = Math.abs(Date.now() - monotonicNow() - this.#offsetMs);
    return apartMs > this.#toleranceMs + this.#uncertaintyMs;
  }
}
