import type { VerifiedToken } from "../auth/verifier.js";
import type { Denied } from "../http/verdict.js";
import { unavailable } from "../http/verdict.js";
import type { RevocationPolicy } from "../revocation/options.js";
import type { AppliedPolicy } from "../limits/policy.js";
import type { Quota } from "../http/quota.js";
import { denyExhausted, isViolated, quotaAfter } from "../limits/verdict.js";
import type { CountedConsumption } from "../limits/settlement.js";
import type { RevocationService } from "../revocation/revocations.js";
import { MemoryDecisionStore } from "../store/memory/decisions.js";
import { withChanges } from "../store/ports/decisions.js";
import type { Consumption, CounterState, TokenQuestion } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import { steadyNow } from "../lib/steady-clock.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Challenges } from "./challenges.js";

export interface DegradationOptions {
  readonly revocations: RevocationService | undefined;
  readonly revocationPolicy: RevocationPolicy;
  readonly challenges: Challenges;
  readonly instances: number;
  readonly telemetry: Telemetry;
  /** The reason for which there is no connection to the store; undefined while there is one. */
  readonly storeFailure?: (() => string | undefined) | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** A policy that the store could not count, with the reason. */
export interface Unanswered<Raw> {
  readonly applied: AppliedPolicy<Raw>;
  readonly fault: StoreFault;
}

/** A decision without the store, and the consumptions that this process counted for it. */
export interface LocalDecision<Raw> {
  readonly denial: Denied | undefined;
  readonly counted: readonly CountedConsumption<Raw>[];
}

/** The decisions that a guard leaves to the policies for outages. */
export type DegradationPolicies = Pick<
  Degradation,
  "announce" | "noteAnswer" | "refusesToken" | "decideRevocation" | "decideLimits" | "unavailable"
>;

/** Counter states of this process, in the order of their consumptions. */
type LocalStates = readonly (CounterState | StoreFault)[];

/** Decides by policy while the store cannot: the table in docs/operations.md. */
export class Degradation {
  readonly #options: DegradationOptions;
  readonly #local: MemoryDecisionStore;
  #lastAnswerAt = Number.NEGATIVE_INFINITY;
  /** Does a policy ask for the time of the last answer? */
  #keepsTime: boolean;

  constructor(options: DegradationOptions) {
    this.#options = options;
    this.#keepsTime = typeof options.revocationPolicy === "object";
    this.#local = new MemoryDecisionStore();
  }

  /** The store has answered about a token: the grace period starts again. */
  noteAnswer(): void {
    if (this.#keepsTime) this.#lastAnswerAt = steadyNow();
  }

  /** Announces a policy, before the first request that it decides about. */
  announce(policy: RevocationPolicy | undefined): void {
    if (typeof policy === "object") this.#keepsTime = true;
  }

  /** The same decisions, without an effect: nothing is counted, noted or reported. */
  preview(): DegradationPolicies {
    return {
      announce: () => undefined,
      noteAnswer: () => undefined,
      refusesToken: (question, policy) => this.refusesToken(question, policy),
      decideRevocation: ({ question }, fault, refused) => this.#decideUnknown(question, fault, refused),
      unavailable: (cause, fault, policy) => this.unavailable(cause, fault, policy),
      decideLimits: (unanswered) =>
        this.#decideLocally(unanswered, (consumptions) => this.#local.corrections.preview(consumptions)),
    };
  }

  /** Would a token be refused now if the store cannot say whether it is revoked? */
  refusesUnknown(policy: RevocationPolicy = this.#options.revocationPolicy): boolean {
    if (typeof policy === "object") return steadyNow() - this.#lastAnswerAt > policy.graceMs;
    return policy === "deny";
  }

  /** Would this token be refused now if the store cannot say whether it is revoked? */
  refusesToken(question: TokenQuestion | StoreFault, policy?: RevocationPolicy): boolean {
    return this.refusesUnknown(policy) || this.#isKnownRevoked(question);
  }

  /**
   * The refusal of a token if the store could not say whether it is revoked; undefined if the token may pass. `refused`
   * is what {@link refusesToken} said when the store was asked: if true, no limit after the token was counted.
   */
  decideRevocation(
    { question }: VerifiedToken,
    fault: StoreFault,
    refused: boolean,
    policy: RevocationPolicy = this.#options.revocationPolicy,
  ): Denied | undefined {
    const name = typeof policy === "object" ? "grace" : policy;
    if (!this.#isKnownRevoked(question))
      this.#options.telemetry.degraded("revocation", name, fault.kind, refused ? "denied" : "allowed");
    return this.#decideUnknown(question, fault, refused);
  }

  #decideUnknown(question: VerifiedToken["question"], fault: StoreFault, refused: boolean): Denied | undefined {
    if (this.#isKnownRevoked(question))
      return this.#options.challenges.tokenInvalid("the token is revoked", undefined, () => ({
        reason: "a record that this process knows, while the store does not answer",
      }));
    return refused ? this.unavailable("the store cannot say whether the token is revoked", fault) : undefined;
  }

  /** The refusal for a fault of the store, with its reason. */
  unavailable(cause: string, fault: StoreFault, policy?: string): Denied {
    return unavailable(`${cause}: ${fault.kind}`, "store_unavailable", () => ({
      policy,
      reason: fault.reply ?? this.#options.storeFailure?.(),
    }));
  }

  #isKnownRevoked(question: VerifiedToken["question"]): boolean {
    if (question === undefined || question instanceof StoreFault) return false;
    return this.#options.revocations?.isKnownRevoked(question) === true;
  }

  /**
   * Decides about policies that the store could not count: by a count in this process, by letting the request pass, or by
   * refusing it. Other processes do not know these counts, so a request that passes gets no rate-limit fields for them.
   */
  decideLimits<Raw>(unanswered: readonly Unanswered<Raw>[]): LocalDecision<Raw> {
    const decision = this.#decideLocally(unanswered, (consumptions) => this.#countLocally(consumptions));
    const outcome = decision.denial === undefined ? "allowed" : "denied";
    for (const { applied, fault } of unanswered)
      this.#options.telemetry.degraded("limit", applied.policy.onStoreError, fault.kind, outcome);
    return decision;
  }

  #countLocally(consumptions: readonly Consumption[]): LocalStates {
    return this.#local.ask({ beforeToken: consumptions, token: undefined, afterToken: [] }).beforeToken;
  }

  #decideLocally<Raw>(
    unanswered: readonly Unanswered<Raw>[],
    count: (consumptions: readonly Consumption[]) => LocalStates,
  ): LocalDecision<Raw> {
    const denying = unanswered.find(({ applied: { policy } }) => policy.onStoreError === "deny" && !policy.shadow);
    if (denying !== undefined)
      return {
        denial: this.unavailable("the store cannot count", denying.fault, denying.applied.policy.name),
        counted: [],
      };
    const local = unanswered
      .filter(({ applied }) => applied.policy.onStoreError === "local")
      .map(({ applied }) => this.#divide(applied));
    if (local.length === 0) return { denial: undefined, counted: [] };
    const states = count(local.map(({ consumption }) => consumption));
    const quotas: Quota[] = [];
    const blocked: Quota[] = [];
    const counted: CountedConsumption<Raw>[] = [];
    local.forEach((applied, index) => {
      const counter = states[index];
      if (counter === undefined || counter instanceof StoreFault) return;
      const quota = quotaAfter(applied, counter);
      quotas.push(quota);
      if (counter.blocked === true && isViolated(quota)) blocked.push(quota);
      if (counter.receipt !== undefined)
        counted.push({ applied, receipt: counter.receipt, store: this.#local.corrections });
    });
    return { denial: denyExhausted(quotas, blocked, false, this.#options.now, local), counted };
  }

  /** The share of this process in a limit. */
  #divide<Raw>({ policy, consumption }: AppliedPolicy<Raw>): AppliedPolicy<Raw> {
    const { instances } = this.#options;
    const burst = consumption.burst === undefined ? undefined : Math.ceil(consumption.burst / instances);
    return {
      policy,
      consumption: withChanges(consumption, { limit: Math.ceil(consumption.limit / instances), burst }),
    };
  }
}
