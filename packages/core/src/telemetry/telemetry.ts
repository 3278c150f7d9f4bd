import type { Denied } from "../http/verdict.js";
import type { MessageOutcome } from "../store/ports/channels.js";
import type { Algorithm } from "../store/ports/decisions.js";
import type { FaultKind } from "../store/ports/fault.js";
import { outsideRequests } from "../lib/context.js";
import { CounterList, Histogram } from "./counters.js";
import { events } from "./events.js";
import { gauge, total } from "./metrics.js";
import type { Metric } from "./metrics.js";
import { RequestCounts } from "./request-counts.js";
import type { ResolvedTelemetry } from "./options.js";

/** As in lib/breaker.ts, which imports this file. */
type BreakerState = "closed" | "open" | "half-open";

/** A part of the gate that follows a policy while the store is unavailable. */
export type DegradablePart = "revocation" | "limit" | "cache" | "login" | "idempotency";

/** A sign that a login throttle is used wrongly. */
export type LoginWarning = "unsaid_success" | "outcome_failed" | "frequent_success";

/** The outcome of a call for a lock. `lost` counts locks that ended before they were given back. */
export type LockOutcome = "acquired" | "held" | "timeout" | "aborted" | "overloaded" | "failed" | "lost";

/** A change of the leader in this process. */
export type LeaderChange = "elected" | "resigned" | "lost";

/**
 * The end of an open connection: a reason to close it, `slow` if its client did not read, `left` if it has closed by itself,
 * `refused` over a limit.
 */
export type ConnectionOutcome = "expired" | "revoked" | "session_ended" | "closed" | "slow" | "left" | "refused";

/** The outcome of a refresh; `overlap` and `repeated` got the same successor again, within and after `tokens.overlap`. */
export type RefreshOutcome = "rotated" | "overlap" | "repeated" | "reused";

/** The outcome of a call about a one-time value. */
export type OneTimeOutcome = "issued" | "consumed" | "peeked" | "refused" | "revoked" | "failed";

/**
 * The outcome of a request with an Idempotency-Key: `executed`, `replayed`, `unreplayable` (its response was not kept),
 * `conflict`, `mismatch`, `refused` (a wrong key, no caller, or a large body), `unavailable`, `unprotected` (the store did
 * not answer, and the handler ran). And of its handler: `stored`, `released` (a retry runs it again), `unstored` (the store
 * did not answer), `overtaken` (its lease had ended, and another request ran).
 */
export type IdempotencyOutcome =
  | "executed"
  | "replayed"
  | "unreplayable"
  | "conflict"
  | "mismatch"
  | "refused"
  | "unavailable"
  | "unprotected"
  | "stored"
  | "released"
  | "unstored"
  | "overtaken";

/** A policy whose limit a request exceeds. */
export interface Limited {
  readonly quota: { readonly policy: string; readonly algorithm: Algorithm; readonly shadow: boolean };
  readonly blocked: boolean;
}

/** One round trip to the store, with one or more questions. */
export interface StoreCall {
  readonly store: "security" | "cache";
  readonly questions: number;
  readonly durationMs: number;
  /** Undefined if the store answered. */
  readonly fault: FaultKind | undefined;
}

/**
 * The metrics and events of a gate. Counters are always on, since a counter costs nanoseconds; events are published on
 * `node:diagnostics_channel` if there is a subscriber. It gets codes and counts only: no token, key or identifier.
 */
export class Telemetry {
  /** The name of the gate. */
  readonly gate: string;
  /** Histogram of decisions; undefined where they are not measured. */
  readonly decisions: Histogram | undefined;
  /** Requests by outcome. */
  readonly requests: RequestCounts = new RequestCounts();
  #dataLosses = 0;
  #lostGiveBacks = 0;
  readonly #counters = new CounterList();
  readonly #degraded = this.#counters.add(
    "portcullis_degraded_total",
    "Decisions that a policy made because the store could not answer.",
  );
  readonly #breakerChanges = this.#counters.add(
    "portcullis_breaker_changes_total",
    "Changes of state of the circuit breakers.",
  );
  readonly #storeQuestions = this.#counters.add(
    "portcullis_store_questions_total",
    "Questions asked of the store, by outcome.",
  );
  readonly #storeCalls: Histogram;
  readonly #limited = this.#counters.add(
    "portcullis_limited_total",
    "Requests that exceeded a limit, by policy; requests over a limit in shadow mode passed.",
  );
  readonly #keyFetches = this.#counters.add(
    "portcullis_key_fetches_total",
    "Fetches of the keys of token issuers, by outcome.",
  );
  readonly #responses = this.#counters.add("portcullis_responses_total", "Requests at a response cache, by outcome.");
  readonly #invalidations = this.#counters.add(
    "portcullis_cache_invalidations_total",
    "Invalidations of the cache that did not reach Redis at once, by outcome.",
  );
  readonly #messages = this.#counters.add(
    "portcullis_channel_messages_total",
    "Messages from other processes, by outcome.",
  );
  readonly #published = this.#counters.add(
    "portcullis_channel_published_total",
    "Messages of channels of the application, by outcome.",
  );
  readonly #gaps = this.#counters.add(
    "portcullis_channel_gaps_total",
    "Times messages of a reliable channel were missing for a subscriber or a process, by reason.",
  );
  readonly #unreadable = this.#counters.add(
    "portcullis_unreadable_total",
    "Values in Redis and replies of its client that could not be read, by part.",
  );
  readonly #loginWarnings = this.#counters.add(
    "portcullis_login_warnings_total",
    "Signs that a login throttle is used wrongly, by throttle and warning.",
  );
  readonly #locks = this.#counters.add(
    "portcullis_locks_total",
    "Calls for locks and locks that were lost, by outcome.",
  );
  readonly #leaders = this.#counters.add(
    "portcullis_leader_changes_total",
    "Times this process became the leader, resigned, or lost the leadership.",
  );
  readonly #oneTime = this.#counters.add("portcullis_one_time_total", "Calls about one-time values, by outcome.");
  readonly #idempotency = this.#counters.add(
    "portcullis_idempotency_total",
    "Requests with an Idempotency-Key, and the ends of their handlers, by outcome.",
  );
  readonly #refreshes = this.#counters.add("portcullis_refreshes_total", "Refreshes of sessions, by outcome.");
  readonly #logouts = this.#counters.add("portcullis_logouts_total", "Back-channel logouts, by outcome.");
  readonly #openConnections = new Map<string, number>();
  readonly #connectionEnds = this.#counters.add(
    "portcullis_connections_ended_total",
    "Ends of open connections, by kind and reason, and refusals of connections over a limit.",
  );
  readonly #breakers = new Map<string, BreakerState>();
  readonly #listening = new Map<string, boolean>();

  constructor({ gate = "default", buckets, decisions = false }: Partial<ResolvedTelemetry> = {}) {
    this.gate = gate;
    const help = "Round trips to the store; each may answer many questions.";
    this.#storeCalls = new Histogram("portcullis_store_call_duration_seconds", help, "store", buckets);
    this.decisions = decisions
      ? new Histogram("portcullis_decision_duration_seconds", "Time of each decision, by outcome.", "outcome", buckets)
      : undefined;
  }

  /** Publishes a refusal. */
  denied({ problem: { code }, status, cause, detail }: Denied): void {
    events.denied.publish({ gate: this.gate, code, status, cause, detail });
  }

  degraded(part: DegradablePart, policy: string, fault: FaultKind, outcome: "allowed" | "denied"): void {
    this.#degraded.add({ part, policy, fault, outcome });
    if (events.degraded.hasSubscribers) events.degraded.publish({ gate: this.gate, part, policy, fault, outcome });
  }

  /** A request exceeded a limit. The names of policies come from the application, never from a client. */
  limited({ quota: { policy, algorithm, shadow }, blocked }: Limited): void {
    const outcome = shadow ? "shadow" : blocked ? "blocked" : "refused";
    this.#limited.add({ policy, outcome });
    if (events.limited.hasSubscribers) events.limited.publish({ gate: this.gate, policy, algorithm, outcome });
  }

  breakerMoved(name: string, from: BreakerState, to: BreakerState): void {
    this.#breakers.set(name, to);
    this.#breakerChanges.add({ name, to });
    if (events.breaker.hasSubscribers) events.breaker.publish({ gate: this.gate, name, from, to });
  }

  /** Does a circuit breaker refuse calls? */
  get isBroken(): boolean {
    return [...this.#breakers.values()].some((state) => state !== "closed");
  }

  listens(store: "security" | "cache", isListening: boolean): void {
    this.#listening.set(store, isListening);
  }

  storeCalled(call: StoreCall): void {
    const { store, questions, durationMs, fault } = call;
    this.#storeQuestions.add({ store, outcome: fault ?? "answered" }, questions);
    this.#storeCalls.observe(store, durationMs / 1000);
    if (events.storeCall.hasSubscribers) outsideRequests(() => events.storeCall.publish({ gate: this.gate, ...call }));
  }

  /** A value in Redis, or a reply of its client, could not be read. */
  unreadable(part: string, reason: "value" | "reply"): void {
    this.#unreadable.add({ part, reason });
  }

  dataLost(): void {
    this.#dataLosses += 1;
    if (events.dataLost.hasSubscribers) events.dataLost.publish({ gate: this.gate });
  }

  /** Corrections of consumptions were dropped, since too many were waiting for the store. */
  giveBacksLost(count: number): void {
    this.#lostGiveBacks += count;
  }

  keysFetched(outcome: "fetched" | "failed"): void {
    this.#keyFetches.add({ outcome });
  }

  /** The outcome of a request at a response cache. */
  responseFound(outcome: "hit" | "stale" | "collapsed" | "miss" | "bypass"): void {
    this.#responses.addOutcome(outcome);
  }

  /** An invalidation did not reach Redis, reached it later, or was dropped because too many are waiting. */
  invalidationEnded(outcome: "missed" | "repeated" | "dropped", fault: FaultKind | undefined): void {
    this.#invalidations.add({ outcome });
    if (events.cacheInvalidation.hasSubscribers) events.cacheInvalidation.publish({ gate: this.gate, outcome, fault });
  }

  /** The names of throttles come from the application, never from a client. */
  loginWarned(throttle: string, warning: LoginWarning): void {
    this.#loginWarnings.add({ throttle, warning });
    if (events.login.hasSubscribers) events.login.publish({ gate: this.gate, throttle, warning });
  }

  lockEnded(outcome: LockOutcome): void {
    this.#locks.addOutcome(outcome);
    if (events.lock.hasSubscribers) events.lock.publish({ gate: this.gate, outcome });
  }

  leaderChanged(outcome: LeaderChange): void {
    this.#leaders.add({ outcome });
    if (events.leader.hasSubscribers) events.leader.publish({ gate: this.gate, outcome });
  }

  /** A call about a one-time value has ended. The fault is given if it failed. */
  oneTimeEnded(outcome: OneTimeOutcome, fault?: FaultKind): void {
    this.#oneTime.add({ outcome });
    if (events.oneTime.hasSubscribers) events.oneTime.publish({ gate: this.gate, outcome, fault });
  }

  /** A refresh token was presented, so long after its replacement if it was replaced before. */
  refreshed(outcome: RefreshOutcome, afterMs: number): void {
    this.#refreshes.addOutcome(outcome);
    if (!events.refresh.hasSubscribers) return;
    if (outcome === "repeated") events.refresh.publish({ gate: this.gate, code: "refresh_repeated", afterMs });
    else if (outcome === "reused") events.refresh.publish({ gate: this.gate, code: "refresh_reused" });
  }

  /** A refresh was refused; the cause is a fixed phrase. */
  refreshRefused(cause: string): void {
    this.#refreshes.addOutcome("refused");
    if (events.refresh.hasSubscribers) events.refresh.publish({ gate: this.gate, code: "refresh_refused", cause });
  }

  /** An OpenID provider reported a logout; with the cause of a refusal, a fixed phrase. */
  loggedOut(outcome: "ended" | "refused" | "unavailable", cause?: string): void {
    this.#logouts.addOutcome(outcome);
    if (events.logout.hasSubscribers) events.logout.publish({ gate: this.gate, outcome, cause });
  }

  /** A request with an Idempotency-Key came, or its handler ended. */
  idempotent(outcome: IdempotencyOutcome): void {
    this.#idempotency.add({ outcome });
    if (events.idempotency.hasSubscribers) events.idempotency.publish({ gate: this.gate, outcome });
  }

  connectionOpened(kind: string): void {
    this.#openConnections.set(kind, (this.#openConnections.get(kind) ?? 0) + 1);
    if (events.connection.hasSubscribers) events.connection.publish({ gate: this.gate, kind, outcome: "opened" });
  }

  /** A connection has ended, or was refused. */
  connectionEnded(kind: string, reason: ConnectionOutcome): void {
    if (reason !== "refused") this.#openConnections.set(kind, (this.#openConnections.get(kind) ?? 1) - 1);
    this.#connectionEnds.add({ kind, reason });
    if (events.connection.hasSubscribers) events.connection.publish({ gate: this.gate, kind, outcome: reason });
  }

  /** A message of a channel of the application was sent, or the store did not take it. */
  channelPublished(outcome: "published" | "failed", fault?: FaultKind): void {
    this.#published.addOutcome(outcome);
    if (events.channel.hasSubscribers) events.channel.publish({ gate: this.gate, outcome, fault });
  }

  /** Messages of a reliable channel are missing for one subscriber, or for all of a process. */
  channelGap(reason: "trimmed" | "lost"): void {
    this.#gaps.add({ reason });
    if (events.channel.hasSubscribers) events.channel.publish({ gate: this.gate, outcome: "gap", reason });
  }

  messageArrived(outcome: MessageOutcome): void {
    this.#messages.add({ outcome });
  }

  /** All metrics. A counter that has counted nothing has no samples, except where a zero is informative. */
  read(): Metric[] {
    const losses = total(
      "portcullis_data_losses_total",
      "Times Redis had lost data: revoked tokens may be accepted again.",
      this.#dataLosses,
    );
    const giveBacks = total(
      "portcullis_give_backs_lost_total",
      "Corrections of limits that were dropped because too many were waiting for the store.",
      this.#lostGiveBacks,
    );
    const breakers: Metric = {
      name: "portcullis_breaker_open",
      help: "1 while a circuit breaker refuses calls, 0.5 while it probes; one that never opened is not listed.",
      type: "gauge",
      samples: [...this.#breakers].map(([name, state]) => ({
        suffix: "",
        labels: { name },
        value: { closed: 0, "half-open": 0.5, open: 1 }[state],
      })),
    };
    const listening = [...this.#listening].map(([store, value]) => [{ store }, value ? 1 : 0] as const);
    const open = [...this.#openConnections].map(([kind, count]) => [{ kind }, count] as const);
    return [
      ...this.requests.read(),
      ...[losses, giveBacks, this.requests.readDenied()],
      ...this.#counters.read(),
      this.#storeCalls.read(),
      ...(this.decisions === undefined ? [] : [this.decisions.read()]),
      gauge("portcullis_connections", "Open connections that end with their token, by kind.", open),
      gauge("portcullis_listening", "1 while the listening connection to Redis tells of changes.", listening),
      breakers,
    ];
  }
}
