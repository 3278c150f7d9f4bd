import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken, Verifier } from "../auth/verifier.js";
import type { CacheService } from "../cache/cache-service.js";
import type { RateLimitFormat } from "../http/fields.js";
import { allowed } from "../http/verdict.js";
import type { Decision, Denied } from "../http/verdict.js";
import type { Consumed, ConsumptionFactory } from "../limits/consumption.js";
import { consumptionsOf, findBlocked, countsAddresses } from "../limits/policy.js";
import { denyExhausted, isViolated, quotaFields, quotaAfter } from "../limits/verdict.js";
import type { Quota } from "../http/quota.js";
import type { RepeatedNameWarning } from "../limits/repeated-names.js";
import type { AppliedPolicy, Policy } from "../limits/policy.js";
import type { CountedConsumption, Settlement } from "../limits/settlement.js";
import type { RevocationPolicy } from "../revocation/options.js";
import type { GateExchange, RequestState } from "../request/state.js";
import { faultForAll, refuses } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Answer, CounterState, DecisionStore, Question, UsageCorrections } from "../store/ports/decisions.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { schemeOf } from "./challenges.js";
import type { DegradationPolicies, Unanswered } from "./degradation.js";
import type { Identity, IdentifyServices } from "./identify.js";
import type { Proof } from "./proof-of-possession.js";
import { createIdentify } from "./identify.js";
import { refuseRevoked } from "./revocation.js";

const noQuotas: readonly Quota[] = [];

/** The services that the guards of one gate share. */
export interface GuardServices<Raw> extends IdentifyServices<Raw> {
  /** Answers questions without leased consumptions. */
  readonly store: DecisionStore;
  /** Answers all questions. */
  readonly leasedStore: DecisionStore;
  /** Undefined for a gate without `auth`. */
  readonly verifier: Pick<Verifier, "verify" | "known"> | undefined;
  readonly consumptions: Pick<ConsumptionFactory<Raw>, "create" | "groupOf" | "nameOf">;
  readonly repeatedNames: Pick<RepeatedNameWarning, "note">;
  readonly corrections: UsageCorrections;
  readonly settlement: Pick<Settlement<Raw>, "expect" | "answered" | "follow">;
  readonly telemetry: Pick<Telemetry, "limited">;
  readonly cache: CacheService | undefined;
  readonly degradation: DegradationPolicies;
  readonly headers: RateLimitFormat;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The parts of a gate that one middleware applies. */
export interface GuardParts<Raw> {
  readonly authentication: "required" | "optional" | "off";
  readonly limits: readonly Policy<Raw>[];
  readonly cache: boolean;
  /** The policy for tokens while the store cannot say whether they are revoked. @default the policy of the gate */
  readonly onStoreError?: RevocationPolicy | undefined;
}

/** The check of a guard. It never answers instead of the application; `PreflightAnswers` does. */
export type GuardCheck<Raw> = (exchange: GateExchange<Raw>) => Decision | Promise<Decision>;

/**
 * The order of a request: identity, limits, one question to the store, verdict. It is refused by the limits of its address
 * first, then for its token, then by the other limits: so bad tokens cost their sender something, and a revoked token cannot
 * use up the quota of its victim. A request that needs no answer from outside this process is decided synchronously.
 */
export function createGuard<Raw>(services: GuardServices<Raw>, parts: GuardParts<Raw>): GuardCheck<Raw> {
  const { verifier, revocations, consumptions, challenges, degradation, now } = services;
  const { authentication } = parts;
  degradation.announce(parts.onStoreError);
  const store = parts.limits.some(({ precision }) => precision === "leased") ? services.leasedStore : services.store;
  const addressLimits = consumptions.groupOf(parts.limits.filter(countsAddresses));
  const otherLimits = consumptions.groupOf(parts.limits.filter((policy) => !countsAddresses(policy)));
  const denyLists = parts.limits.filter(({ deny }) => deny !== undefined);
  const isOff = verifier === undefined || authentication === "off";
  const identify = isOff ? undefined : createIdentify(services, verifier, authentication);

  return function guard(exchange) {
    const blocked = denyLists.length === 0 ? undefined : findBlocked(denyLists, exchange, services.telemetry);
    if (blocked !== undefined) return refuse(exchange, blocked);
    // This guard does not identify, but another middleware of the gate may have done so.
    if (identify === undefined) return consume(exchange, exchange.state.verified, undefined, undefined);
    const identity = identify(exchange);
    return identity instanceof Promise
      ? identity.then((late) => consumeFor(exchange, late))
      : consumeFor(exchange, identity);
  };

  function consumeFor(exchange: GateExchange<Raw>, identity: Identity | Denied): Decision | Promise<Decision> {
    if (identity === undefined) return consume(exchange, undefined, undefined, undefined);
    if ("allowed" in identity) return consume(exchange, undefined, identity, undefined);
    return "proof" in identity
      ? consume(exchange, identity.verified, undefined, identity.proof)
      : consume(exchange, identity, undefined, undefined);
  }

  /** Finds what each limit consumes. A request that is refused already consumes only from the limits of its address. */
  function consume(
    exchange: GateExchange<Raw>,
    verified: VerifiedToken | undefined,
    denial: Denied | undefined,
    proof: Proof | undefined,
  ): Decision | Promise<Decision> {
    // Functions of the limits see who is asking.
    if (identify !== undefined) exchange.state.identify(verified);
    const before = consumptions.create(addressLimits, exchange, verified);
    const after = denial === undefined ? consumptions.create(otherLimits, exchange, verified) : [];
    return before instanceof Promise || after instanceof Promise
      ? Promise.all([before, after]).then(
          ([first, last]) => ask(exchange, verified, denial, proof, first, last),
          (error: unknown) => fail(exchange, error),
        )
      : ask(exchange, verified, denial, proof, before, after);
  }

  /** A token whose claims do not tell whom to count is refused like any bad token: only its address consumes. */
  function ask(
    exchange: GateExchange<Raw>,
    verified: VerifiedToken | undefined,
    denial: Denied | undefined,
    proof: Proof | undefined,
    before: Consumed<Raw>,
    after: Consumed<Raw>,
  ): Decision | Promise<Decision> {
    if (!("code" in after) && !("code" in before))
      return askStore({ exchange, verified, denial, proof, before, after, quotas: noQuotas });
    const refusal = "code" in after ? after : (before as TokenRefusal);
    return askStore({
      exchange,
      verified: undefined,
      denial: denial ?? challenges.tokenRefused(refusal, schemeOf(verified)),
      proof: undefined,
      before: "code" in before ? [] : before,
      after: [],
      quotas: noQuotas,
    });
  }

  function askStore(request: PendingRequest<Raw>): Decision | Promise<Decision> {
    const { exchange, verified, proof, before, after } = request;
    const { state } = exchange;
    const limited = state.limitRefusal;
    if (limited !== undefined && isCountedBy(limited.keys, before, after)) return refuse(exchange, limited.denial);
    const asked = tokenQuestion(state, verified);
    const unknown = asked instanceof StoreFault ? asked : undefined;
    const token = asked instanceof StoreFault ? undefined : asked;
    const refusesUnknown = asked !== undefined && degradation.refusesToken(asked, parts.onStoreError);
    for (const applied of before) expectAnswer(state, applied);
    for (const applied of after) expectAnswer(state, applied);
    // Another middleware of this request may have used the proof already.
    const replayCheck =
      proof === undefined || state.isProofRecorded(proof.replayCheck.key) ? undefined : proof.replayCheck;
    const reached = unknown !== undefined && refusesUnknown ? [] : after;
    if (before.length === 0 && reached.length === 0 && token === undefined && replayCheck === undefined)
      return conclude(
        request,
        unknown === undefined ? emptyAnswer : { ...emptyAnswer, revoked: unknown },
        refusesUnknown,
      );
    const question: Question = {
      beforeToken: consumptionsOf(before),
      token,
      replayCheck,
      afterToken: consumptionsOf(reached),
      refusesUnknown,
    };
    const answer = store.ask(question);
    if (unknown !== undefined)
      return Promise.resolve(answer).then((late) =>
        conclude(request, { ...orFaults(late, question), revoked: unknown }, refusesUnknown),
      );
    return answer instanceof Promise
      ? answer.then((late) => conclude(request, orFaults(late, question), refusesUnknown))
      : conclude(request, orFaults(answer, question), refusesUnknown);
  }

  function tokenQuestion(state: RequestState, verified: VerifiedToken | undefined): VerifiedToken["question"] {
    if (revocations === undefined || verified === undefined || authentication === "off") return undefined;
    return state.isDone(verified) ? undefined : verified.question;
  }

  function expectAnswer(state: RequestState, applied: AppliedPolicy<Raw>): void {
    state.markDone(applied.policy);
    if (applied.consumption.slot !== undefined) services.settlement.expect(applied, services.corrections);
  }

  /** The verdict, in the order of refusals. */
  function conclude(request: PendingRequest<Raw>, answer: Answer, refusesUnknown: boolean): Decision {
    const { exchange, verified, denial, proof, before, after } = request;
    const { state } = exchange;
    // Recorded also where the request is refused for another reason: to an alternative it is no replay.
    if (proof !== undefined && answer.replayed === false) state.markProofRecorded(proof.replayCheck.key);
    const byAddress = decideLimits(request, before, answer.beforeToken);
    const refusal =
      byAddress ?? denial ?? decideToken(state, verified, answer, refusesUnknown) ?? decideProof(answer.replayed);
    if (refusal !== undefined) {
      if (request.quotas.length > 0) services.repeatedNames.note(state, request.quotas);
      giveBack(after, answer.afterToken);
      reopen(request, answer, byAddress !== undefined, true);
      return refuse(exchange, refusal);
    }
    const byOthers = decideLimits(request, after, answer.afterToken);
    const { quotas } = request;
    if (state.facts.quotas.length > 0 && quotas.length > 0) services.repeatedNames.note(state, quotas);
    if (byOthers === undefined) return allow(exchange, quotas, proof);
    reopen(request, answer, false, false);
    return refuse(exchange, byOthers);
  }

  /** Policies that did not count the refused request count it if another middleware, such as an alternative, lets it pass. */
  function reopen(
    { exchange: { state }, before, after }: PendingRequest<Raw>,
    { beforeToken, afterToken }: Answer,
    isRefusedByAddress: boolean,
    isGivenBack: boolean,
  ): void {
    // The store counts all or nothing.
    const isLeft = [...keysOfRefusing(before, beforeToken), ...keysOfRefusing(after, afterToken)].length > 0;
    before.forEach(({ policy }, index) => {
      // A fault was counted in this process, unless that refused.
      if (beforeToken[index] instanceof StoreFault ? isRefusedByAddress : isLeft) state.markUndone(policy);
    });
    after.forEach(({ policy }, index) => {
      const counter = afterToken[index];
      const isCounted = counter !== undefined && !(counter instanceof StoreFault) && !isLeft;
      if (!isCounted || (isGivenBack && counter.receipt !== undefined)) state.markUndone(policy);
    });
  }

  /**
   * The refusal by these policies; their quotas are added to those of the request. Degradation decides about policies that the
   * store could not count.
   */
  function decideLimits(
    request: PendingRequest<Raw>,
    applied: readonly AppliedPolicy<Raw>[],
    counters: readonly (CounterState | StoreFault | undefined)[],
  ): Denied | undefined {
    const { exchange } = request;
    let unanswered: Unanswered<Raw>[] | undefined;
    let counted: CountedConsumption<Raw>[] | undefined;
    let blocked = noQuotas;
    for (let index = 0; index < applied.length; index += 1) {
      const policy = applied[index] as AppliedPolicy<Raw>;
      const counter = counters[index];
      if (policy.consumption.slot !== undefined) services.settlement.answered(policy.consumption);
      if (counter instanceof StoreFault) {
        (unanswered ??= []).push({ applied: policy, fault: counter });
        // Only the reply may have been lost.
        if (policy.consumption.slot !== undefined && counter.mayHaveRun)
          (counted ??= []).push({ applied: policy, receipt: inDoubt, store: services.corrections });
      } else if (counter !== undefined) {
        const quota = quotaAfter(policy, counter);
        request.quotas = withQuota(request.quotas, quota);
        if (quota.exceeded) {
          services.telemetry.limited({ quota, blocked: counter.blocked === true });
          if (counter.blocked === true && isViolated(quota)) blocked = [...blocked, quota];
        }
        if (counter.receipt !== undefined)
          (counted ??= []).push({ applied: policy, receipt: counter.receipt, store: services.corrections });
      }
    }
    if (counted !== undefined) services.settlement.follow(exchange, counted);
    const denial = denyExhausted(request.quotas, blocked, services.headers, now, applied, consumptions);
    if (denial !== undefined) exchange.state.markLimited(keysOfRefusing(applied, counters), denial);
    if (denial !== undefined || unanswered === undefined) return denial;
    const local = degradation.decideLimits(unanswered);
    if (local.counted.length > 0) services.settlement.follow(exchange, local.counted);
    return local.denial;
  }

  /** Gives back what a refused request may have consumed: the answer was lost, or came before this process could refuse. */
  function giveBack(applied: readonly AppliedPolicy<Raw>[], counters: Answer["afterToken"]): void {
    applied.forEach(({ consumption }, index) => {
      const counter = counters[index];
      if (consumption.slot !== undefined) services.settlement.answered(consumption);
      if (counter instanceof StoreFault) {
        if (consumption.slot !== undefined && counter.mayHaveRun)
          services.corrections.adjust([{ consumption, receipt: inDoubt, by: -consumption.cost }]);
      } else if (counter?.receipt !== undefined)
        services.corrections.adjust([{ consumption, receipt: counter.receipt, by: -consumption.cost }]);
    });
  }

  function decideToken(
    state: RequestState,
    verified: VerifiedToken | undefined,
    { revoked, cutoff }: Answer,
    refusesUnknown: boolean,
  ): Denied | undefined {
    if (verified === undefined || revoked === undefined) return undefined;
    if (revoked instanceof StoreFault)
      return degradation.decideRevocation(verified, revoked, refusesUnknown, parts.onStoreError);
    degradation.noteAnswer();
    if (revoked) {
      const { question } = verified;
      if (question !== undefined && !(question instanceof StoreFault)) revocations?.remember(question);
      return refuseRevoked(challenges, verified, cutoff);
    }
    state.markDone(verified);
    return undefined;
  }

  /** A proof must be new. If the store cannot say whether it is, the request is refused. */
  function decideProof(replayed: Answer["replayed"]): Denied | undefined {
    if (replayed === undefined) return undefined;
    if (replayed instanceof StoreFault)
      return degradation.unavailable("the store cannot say whether the DPoP proof is new", replayed);
    return replayed ? challenges.proofInvalid("the DPoP proof was used before") : undefined;
  }

  /** Refuses a request. A guard that does not identify keeps the identity: the application may go on with its user. */
  function refuse({ state }: GateExchange<Raw>, denial: Denied): Denied {
    if (identify !== undefined) state.identify(undefined);
    return denial;
  }

  /** Hands on what a function of the application has thrown. Nobody has asked yet whether the token is revoked. */
  function fail({ state }: GateExchange<Raw>, error: unknown): never {
    if (identify !== undefined) state.identify(undefined);
    throw error;
  }

  function allow(exchange: GateExchange<Raw>, quotas: readonly Quota[], proof: Proof | undefined): Decision {
    const { state } = exchange;
    if (parts.cache && services.cache !== undefined)
      state.setCache(state.facts.cache ?? services.cache.create(state, exchange));
    const nonce = proof?.headers ?? [];
    if (quotas.length === 0) return nonce.length === 0 ? allowed : { allowed: true, headers: nonce };
    state.addQuotas(quotas);
    const fields = quotaFields(services.headers, state.facts.quotas, now);
    return { allowed: true, headers: nonce.length === 0 ? fields : [...fields, ...nonce] };
  }
}

/** A request of which only the store's answer is not known yet. */
interface PendingRequest<Raw> {
  readonly exchange: GateExchange<Raw>;
  readonly verified: VerifiedToken | undefined;
  readonly denial: Denied | undefined;
  readonly proof: Proof | undefined;
  readonly before: readonly AppliedPolicy<Raw>[];
  readonly after: readonly AppliedPolicy<Raw>[];
  /** The quotas that are known so far. */
  quotas: readonly Quota[];
}

/** Literals: a list that grows by one makes room for many. */
function withQuota(quotas: readonly Quota[], quota: Quota): readonly Quota[] {
  const [first] = quotas;
  if (first === undefined) return [quota];
  return quotas.length === 1 ? [first, quota] : [...quotas, quota];
}

/** The receipt of a slot if it is not known whether the slot was taken. */
const inDoubt = -1;

function isCountedBy(
  keys: readonly string[],
  ...groups: readonly (readonly Pick<AppliedPolicy<never>, "consumption">[])[]
): boolean {
  return groups.some((applied) => applied.some(({ consumption }) => keys.includes(consumption.key)));
}

function keysOfRefusing(
  applied: readonly Pick<AppliedPolicy<never>, "consumption">[],
  counters: Answer["afterToken"],
): string[] {
  return applied
    .filter(({ consumption }, index) => refuses(consumption, counters[index]))
    .map(({ consumption }) => consumption.key);
}

const emptyAnswer: Answer = { beforeToken: [], revoked: undefined, afterToken: [] };

/** If nothing could be asked, every part has the same fault. */
function orFaults(answer: Answer | StoreFault, question: Question): Answer {
  return answer instanceof StoreFault ? faultForAll(question, answer) : answer;
}
