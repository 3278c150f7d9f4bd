import type { Auth } from "../auth/claims.js";
import type { Scheme, TokenSource } from "../auth/credentials.js";
import { readCredentials } from "../auth/credentials.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken, Verifier } from "../auth/verifier.js";
import type { CacheService } from "../cache/cache-service.js";
import { foundOut } from "../http/exchange.js";
import type { Exchange, Facts } from "../http/exchange.js";
import type { RateLimitFormat } from "../http/fields.js";
import type { Decision, Denied } from "../http/verdict.js";
import { allowed } from "../http/verdict.js";
import type { RevocationPolicy } from "../revocation/options.js";
import type { Consumed, ConsumptionFactory } from "../limits/consumption.js";
import { findBlocked, countsAddresses } from "../limits/policy.js";
import { denyExhausted, quotaFields, quotaAfter } from "../limits/verdict.js";
import type { AppliedQuota } from "../limits/verdict.js";
import type { AppliedPolicy, Policy } from "../limits/policy.js";
import type { Counted, Settlement } from "../limits/settlement.js";
import type { RevocationService } from "../revocation/revocations.js";
import type { SharedKeys } from "../store/keyspace.js";
import type { Answer, Question, UsageCorrections, DecisionStore, CounterState } from "../store/ports/decisions.js";
import { StoreFault, clockDiffers, faultForAll } from "../store/ports/decisions.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Challenges } from "./challenges.js";
import { denyForClock, denyUnavailable, schemeOf } from "./challenges.js";
import type { Degradation } from "./degradation.js";
import type { ProofOfPossession, Proof } from "./proof-of-possession.js";
import { isPreflight } from "./preflight.js";

/** What every admission of a gate works with. */
export interface GuardServices<Raw> {
  readonly store: DecisionStore;
  readonly verifier: Verifier | undefined;
  readonly sources: readonly TokenSource<Raw>[];
  /** Undefined where no token is bound to a key. */
  readonly proofOfPossession: ProofOfPossession | undefined;
  readonly revocations: RevocationService | undefined;
  /** Whose the keys are that services share. */
  readonly sharedKeys: Pick<SharedKeys, "settled">;
  readonly charges: ConsumptionFactory<Raw>;
  readonly quotas: UsageCorrections;
  readonly settlement: Settlement<Raw>;
  readonly telemetry: Telemetry;
  readonly cache: CacheService | undefined;
  readonly challenges: Challenges;
  readonly degradation: Degradation;
  readonly headers: RateLimitFormat;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Which of a gate's services one middleware applies. */
export interface GuardParts<Raw> {
  readonly authentication: "required" | "optional" | "off";
  readonly limits: readonly Policy<Raw>[];
  readonly cache: boolean;
  /** Instead of the gate's own policy, while the store cannot say whether a token is revoked. */
  readonly onStoreError?: RevocationPolicy | undefined;
}

/** The check of an admission: it never answers in the application's place ({@link PreflightAnswers} does). */
export type GuardCheck<Raw> = (exchange: Exchange<Raw>) => Decision | Promise<Decision>;

/**
 * The way of a request, in one fold: credentials, verified token, one question to the store, verdict. The order of
 * refusals is the address' limits, then the token, then the other limits, so that bad tokens cost their sender something
 * and a revoked token cannot drain the quota of its victim. Whatever can be answered at once is.
 */
export function createGuard<Raw>(services: GuardServices<Raw>, parts: GuardParts<Raw>): GuardCheck<Raw> {
  const {
    store,
    verifier,
    sources,
    proofOfPossession: possession,
    revocations,
    charges,
    challenges,
    degradation,
    now,
  } = services;
  const addressLimits = parts.limits.filter(countsAddresses);
  const otherLimits = parts.limits.filter((policy) => !countsAddresses(policy));
  const denyLists = parts.limits.filter(({ deny }) => deny !== undefined);

  const identifies = verifier !== undefined && parts.authentication !== "off";

  return function admit(exchange: Exchange<Raw>): Decision | Promise<Decision> {
    const blocked = denyLists.length === 0 ? undefined : findBlocked(denyLists, exchange, services.telemetry);
    if (blocked !== undefined) return refuse(exchange, blocked);
    if (verifier === undefined || parts.authentication === "off") {
      return charge(exchange, exchange.facts.verified, undefined);
    }
    if (isPreflight(exchange)) return charge(exchange, undefined, undefined);
    // At the very start nobody knows yet under which keys revocations are.
    const settling = revocations === undefined ? undefined : services.sharedKeys.settled();
    return settling === undefined
      ? admitSender(exchange, verifier)
      : settling.then(() => admitSender(exchange, verifier));
  };

  function admitSender(exchange: Exchange<Raw>, verifier: Verifier): Decision | Promise<Decision> {
    const credentials = readCredentials(exchange, sources);
    if (credentials.kind === "none") {
      const denial = parts.authentication === "required" ? challenges.credentialsRequired() : undefined;
      return charge(exchange, undefined, denial);
    }
    if (credentials.kind !== "token") return charge(exchange, undefined, challenges.badCredentials(credentials));
    const { token, scheme } = credentials;
    const verified = verifier.verify(token);
    return verified instanceof Promise
      ? verified.then((outcome) => chargeVerified(exchange, outcome, scheme))
      : chargeVerified(exchange, verified, scheme);
  }

  function chargeVerified(
    exchange: Exchange<Raw>,
    outcome: VerifiedToken | TokenRefusal,
    scheme: Scheme,
  ): Decision | Promise<Decision> {
    if ("code" in outcome) {
      const isOurFault = outcome.code === "token_untimely" && clockDiffers(store);
      return charge(exchange, undefined, isOurFault ? denyForClock() : challenges.tokenRefused(outcome, scheme));
    }
    return outcome.boundTo === undefined && scheme === "Bearer"
      ? charge(exchange, outcome, undefined)
      : chargeProven(exchange, outcome, scheme);
  }

  /** A token that is bound to a key is worth nothing without a proof; one that is not cannot be proven (RFC 9449 7). */
  function chargeProven(
    exchange: Exchange<Raw>,
    verified: VerifiedToken,
    scheme: Scheme,
  ): Decision | Promise<Decision> {
    const { boundTo } = verified;
    if (possession === undefined || boundTo === undefined || scheme !== "DPoP") {
      const cause =
        boundTo === undefined ? "the token is bound to no key" : "a DPoP-bound token came as a Bearer token";
      return charge(exchange, undefined, challenges.tokenInvalid(cause, scheme));
    }
    return possession
      .prove(exchange, verified, boundTo)
      .then((proof) =>
        "use" in proof ? charge(exchange, verified, undefined, proof) : charge(exchange, undefined, proof),
      );
  }

  /** A request that is already denied still counts against its address, and nothing else. */
  function charge(
    exchange: Exchange<Raw>,
    verified: VerifiedToken | undefined,
    denial: Denied | undefined,
    proof?: Proof,
  ): Decision | Promise<Decision> {
    if (identifies) identify(exchange.facts, verified);
    const before = charges.charges(addressLimits, exchange, verified);
    const after = denial === undefined ? charges.charges(otherLimits, exchange, verified) : [];
    if (before instanceof Promise || after instanceof Promise) {
      return Promise.all([before, after]).then(([first, last]) =>
        askFor(exchange, verified, denial, proof, first, last),
      );
    }
    return askFor(exchange, verified, denial, proof, before, after);
  }

  /** A token that does not say rightly whom to charge is refused like any bad one: only its address is charged. */
  function askFor(
    exchange: Exchange<Raw>,
    verified: VerifiedToken | undefined,
    denial: Denied | undefined,
    proof: Proof | undefined,
    before: Consumed<Raw>,
    after: Consumed<Raw>,
  ): Decision | Promise<Decision> {
    if (!("code" in after) && !("code" in before)) return ask({ exchange, verified, denial, proof, before, after });
    const refusal = "code" in after ? after : (before as TokenRefusal);
    return ask({
      exchange,
      verified: undefined,
      denial: denial ?? challenges.tokenRefused(refusal, schemeOf(verified)),
      proof: undefined,
      before: "code" in before ? [] : before,
      after: [],
    });
  }

  function ask(request: Request<Raw>): Decision | Promise<Decision> {
    const { exchange, verified, proof, before, after } = request;
    const asked = tokenQuestion(exchange.facts, verified);
    const unknown = asked instanceof StoreFault ? asked : undefined;
    const token = asked instanceof StoreFault ? undefined : asked;
    for (const applied of [...before, ...after]) {
      exchange.facts.settled.add(applied.policy);
      if (applied.charge.slot !== undefined) services.settlement.expect(applied, services.quotas);
    }
    // Another middleware of this request may have used the proof already.
    const use = proof === undefined || exchange.facts.proofs.includes(proof.use.key) ? undefined : proof.use;
    if (before.length === 0 && after.length === 0 && token === undefined && use === undefined)
      return conclude(request, unknown === undefined ? nothingAsked : { ...nothingAsked, revoked: unknown });
    const question: Question = {
      beforeToken: before.map(({ charge }) => charge),
      token,
      use,
      afterToken: after.map(({ charge }) => charge),
    };
    const answer = store.ask(question);
    if (unknown !== undefined)
      return Promise.resolve(answer).then((late) =>
        conclude(request, { ...orFaults(late, question), revoked: unknown }),
      );
    return answer instanceof Promise
      ? answer.then((late) => conclude(request, orFaults(late, question)))
      : conclude(request, orFaults(answer, question));
  }

  function tokenQuestion({ settled }: Facts, verified: VerifiedToken | undefined): VerifiedToken["question"] {
    if (revocations === undefined || verified === undefined || parts.authentication === "off") return undefined;
    return settled.has(verified) ? undefined : verified.question;
  }

  function conclude(request: Request<Raw>, answer: Answer): Decision {
    const { exchange, verified, denial, proof, before, after } = request;
    const first = settle(exchange, before, answer.beforeToken, []);
    const refusal =
      first.denial ??
      denial ??
      decideToken(exchange.facts, verified, answer) ??
      decideUse(exchange.facts, proof, answer.repeated);
    if (refusal !== undefined) {
      giveBack(after, answer.afterToken);
      return refuse(exchange, refusal);
    }
    const last = settle(exchange, after, answer.afterToken, first.settled);
    return last.denial === undefined ? allow(exchange, last.settled, proof) : refuse(exchange, last.denial);
  }

  /** What the store counted, added to what is settled already, and what stands in for what it could not count. */
  function settle(
    exchange: Exchange<Raw>,
    applied: readonly AppliedPolicy<Raw>[],
    tallies: readonly (CounterState | StoreFault | undefined)[],
    already: readonly AppliedQuota[],
  ): { settled: AppliedQuota[]; denial: Denied | undefined } {
    const settled = [...already];
    const unanswered: { applied: AppliedPolicy<Raw>; fault: StoreFault }[] = [];
    let counted: Counted<Raw>[] | undefined;
    applied.forEach((policy, index) => {
      const tally = tallies[index];
      if (policy.charge.slot !== undefined) services.settlement.answered(policy.charge);
      if (tally instanceof StoreFault) {
        unanswered.push({ applied: policy, fault: tally });
        // Its reply may be all that was lost.
        if (policy.charge.slot !== undefined && mayHaveRun(tally))
          (counted ??= []).push({ applied: policy, receipt: inDoubt, store: services.quotas });
      } else if (tally !== undefined) {
        const state = quotaAfter(policy, tally);
        settled.push(state);
        if (state.quota.exceeded) services.telemetry.limited(state);
        if (tally.receipt !== undefined)
          (counted ??= []).push({ applied: policy, receipt: tally.receipt, store: services.quotas });
      }
    });
    if (counted !== undefined) services.settlement.follow(exchange, counted);
    const denial = denyExhausted(settled, services.headers, now());
    if (denial !== undefined || unanswered.length === 0) return { settled, denial };
    const local = degradation.decideLimits(unanswered);
    if (local.counted.length > 0) services.settlement.follow(exchange, local.counted);
    return { settled, denial: local.denial };
  }

  /**
   * A request that is refused here may have been counted there: the answer was lost, or the store counted what this process
   * refuses, such as a token about which a store with another clock cannot say anything.
   */
  function giveBack(applied: readonly AppliedPolicy<Raw>[], tallies: Answer["afterToken"]): void {
    applied.forEach(({ charge }, index) => {
      const tally = tallies[index];
      if (charge.slot !== undefined) services.settlement.answered(charge);
      if (tally instanceof StoreFault) {
        if (charge.slot !== undefined && mayHaveRun(tally))
          services.quotas.adjust([{ charge, receipt: inDoubt, by: -charge.cost }]);
      } else if (tally?.receipt !== undefined)
        services.quotas.adjust([{ charge, receipt: tally.receipt, by: -charge.cost }]);
    });
  }

  function decideToken(
    facts: Facts,
    verified: VerifiedToken | undefined,
    { revoked, cutoff }: Answer,
  ): Denied | undefined {
    if (verified === undefined || revoked === undefined) return undefined;
    if (revoked instanceof StoreFault) return degradation.decideRevocation(verified, revoked, parts.onStoreError);
    degradation.noteAnswer();
    if (revoked) {
      const { question } = verified;
      if (question !== undefined && !(question instanceof StoreFault)) revocations?.remember(question);
      return challenges.tokenInvalid(causeOfRevocation(verified.auth, cutoff), schemeOf(verified));
    }
    facts.settled.add(verified);
    return undefined;
  }

  /** Where the store cannot say whether a proof is new, nobody can. */
  function decideUse(facts: Facts, proof: Proof | undefined, repeated: Answer["repeated"]): Denied | undefined {
    if (repeated === undefined) return undefined;
    if (repeated instanceof StoreFault)
      return denyUnavailable(`the store cannot say whether the DPoP proof is new: ${repeated.kind}`);
    if (repeated) return challenges.proofInvalid("the DPoP proof was used before");
    if (proof !== undefined) facts.proofs = [...facts.proofs, proof.use.key];
    return undefined;
  }

  /** A limit on its own does not sign out whom it refuses: the application may go on, and knows who is asking. */
  function refuse({ facts }: Exchange<Raw>, denial: Denied): Denied {
    if (identifies) identify(facts, undefined);
    return denial;
  }

  function identify(facts: Facts, verified: VerifiedToken | undefined): void {
    facts.verified = verified;
    facts.auth = verified?.auth;
    facts.found |= foundOut.auth;
    if (verified !== undefined) facts.identified = true;
  }

  function allow(exchange: Exchange<Raw>, settled: readonly AppliedQuota[], proof: Proof | undefined): Decision {
    const { facts } = exchange;
    if (parts.cache && services.cache !== undefined) {
      facts.cache ??= services.cache.create(facts, exchange);
      facts.found |= foundOut.cache;
    }
    const more = proof?.headers ?? [];
    if (settled.length === 0) return more.length === 0 ? allowed : { allowed: true, headers: more };
    facts.quotas = [...facts.quotas, ...settled.map(({ quota }) => quota)];
    facts.found |= foundOut.quotas;
    const fields = quotaFields(services.headers, facts.quotas, now());
    return { allowed: true, headers: more.length === 0 ? fields : [...fields, ...more] };
  }
}

/** Why a token is refused that the store says is revoked, and by which cut-off if by one. A fixed phrase for logs. */
function causeOfRevocation({ issuedAt }: Auth, cutoff: number | undefined): string {
  return cutoff !== undefined && issuedAt !== undefined && Math.floor(issuedAt) > cutoff
    ? "the token is revoked: it was issued within revocation.cutoffMargin after a cut-off"
    : "the token is revoked";
}

/** One request on its way, when everything about it is known but the store's answer. */
interface Request<Raw> {
  readonly exchange: Exchange<Raw>;
  readonly verified: VerifiedToken | undefined;
  readonly denial: Denied | undefined;
  readonly proof: Proof | undefined;
  readonly before: readonly AppliedPolicy<Raw>[];
  readonly after: readonly AppliedPolicy<Raw>[];
}

/** The receipt of a slot of which nobody knows whether it was taken. */
const inDoubt = -1;

/** May Redis have counted this after all? Not where nothing was sent. */
function mayHaveRun({ kind }: StoreFault): boolean {
  return kind !== "open" && kind !== "overloaded";
}

const nothingAsked: Answer = { beforeToken: [], revoked: undefined, afterToken: [] };

/** A store that could not be asked at all leaves every part of the question with the same fault. */
function orFaults(answer: Answer | StoreFault, question: Question): Answer {
  return answer instanceof StoreFault ? faultForAll(question, answer) : answer;
}
