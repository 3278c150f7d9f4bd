import type { VerifiedToken } from "../auth/verifier.js";
import type { Denied } from "../http/verdict.js";
import type { RevocationPolicy } from "../options/options.js";
import type { AppliedPolicy } from "../quota/policy.js";
import type { Settled } from "../quota/limit.js";
import { denyExhausted, settleQuota } from "../quota/limit.js";
import type { RevocationService } from "../revocation/revocations.js";
import { MemorySecurityStore } from "../store/memory/security.js";
import { StoreFault } from "../store/ports.js";
import { events } from "../telemetry/events.js";
import type { Challenges } from "./challenges.js";
import { denyUnavailable } from "./challenges.js";

export interface DegradationOptions {
  readonly revocations: RevocationService | undefined;
  readonly revocationPolicy: RevocationPolicy;
  readonly challenges: Challenges;
  readonly instances: number;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** What decides where the store could not: the table in docs/operations.md. */
export class Degradation {
  readonly #options: DegradationOptions;
  readonly #local: MemorySecurityStore;
  #lastAnswerAt = Number.NEGATIVE_INFINITY;

  constructor(options: DegradationOptions) {
    this.#options = options;
    this.#local = new MemorySecurityStore({ now: options.now });
  }

  /** The store answered about a token: the grace period starts anew. */
  noteAnswer(): void {
    this.#lastAnswerAt = this.#options.now();
  }

  /** May a token pass about which the store could not say whether it is revoked? Undefined means yes. */
  decideRevocation({ question }: VerifiedToken, fault: StoreFault): Denied | undefined {
    const { revocations, revocationPolicy, challenges, now } = this.#options;
    if (question !== undefined && revocations?.isKnownRevoked(question) === true) {
      return challenges.tokenInvalid("the token is revoked");
    }
    const policy = typeof revocationPolicy === "object" ? "grace" : revocationPolicy;
    report("revocation", policy, fault);
    const allowed =
      revocationPolicy === "allow" ||
      (typeof revocationPolicy === "object" && now() - this.#lastAnswerAt <= revocationPolicy.graceMs);
    return allowed ? undefined : denyUnavailable(`the store cannot say whether the token is revoked: ${fault.kind}`);
  }

  /**
   * Decides about policies that the store could not count: by a bounded count of this process, by letting the request
   * pass, or by refusing it. The counts are ours alone, so a request that passes gets no fields about them.
   */
  decideLimits<Raw>(unanswered: readonly { applied: AppliedPolicy<Raw>; fault: StoreFault }[]): Denied | undefined {
    for (const { applied, fault } of unanswered) {
      const { policy } = applied;
      report("limit", policy.onStoreError, fault);
      if (policy.onStoreError === "deny") return denyUnavailable(`the store cannot count: ${fault.kind}`);
    }
    const local = unanswered
      .filter(({ applied }) => applied.policy.onStoreError === "local")
      .map(({ applied }) => this.#divide(applied));
    if (local.length === 0) return undefined;
    const answer = this.#local.ask({
      beforeToken: local.map(({ charge }) => charge),
      token: undefined,
      afterToken: [],
    });
    const settled: Settled[] = [];
    local.forEach((applied, index) => {
      const tally = answer.beforeToken[index];
      if (tally !== undefined && !(tally instanceof StoreFault)) settled.push(settleQuota(applied, tally));
    });
    return denyExhausted(settled, false, this.#options.now());
  }

  /** This process' part of a limit. */
  #divide<Raw>({ policy, charge }: AppliedPolicy<Raw>): AppliedPolicy<Raw> {
    return { policy, charge: { ...charge, limit: Math.ceil(charge.limit / this.#options.instances) } };
  }
}

function report(part: string, policy: string, fault: StoreFault): void {
  if (events.degraded.hasSubscribers) events.degraded.publish({ part, policy, fault: fault.kind });
}
