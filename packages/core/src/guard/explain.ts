import { boundCertificate } from "../auth/claims.js";
import { inspectClaims, inspectToken, readBoundKey } from "../auth/inspection.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken, Verifier } from "../auth/verifier.js";
import type { Decision } from "../http/verdict.js";
import { checkObject, checkString, kindOf } from "../lib/validate.js";
import type { ConsumptionFactory, Consumed, GroupMember } from "../limits/consumption.js";
import type { AppliedPolicy, Policy } from "../limits/policy.js";
import { hasHeader } from "../limits/policy.js";
import type { GateExchange } from "../request/state.js";
import { RequestState } from "../request/state.js";
import type { Keyspace } from "../store/keyspace.js";
import { nameKey } from "../store/key-names.js";
import type { Answer, Consumption, CounterState, DecisionStore, Question } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { StoreInspection } from "../store/ports/inspection.js";
import type { FoundRecords } from "../store/ports/revocation.js";
import type { SessionStore } from "../store/ports/sessions.js";
import type { Degradation } from "./degradation.js";
import type { ExplainedCheck, ExplainedUser, Explanation } from "./explanation.js";
import { textOf } from "./explanation.js";
import { checksOfClaims, checksOfRecords, describeLimit, describeSession } from "./explained-checks.js";
import type { GuardServices } from "./guard.js";
import { createGuard } from "./guard.js";
import { eventExchange } from "./message-exchange.js";
import { PreviewStore } from "./preview-store.js";

/** The request that carries the token, as far as limits and their functions need to know it. */
export interface ExplainOptions<Raw = unknown> {
  /** Address of the client. @default none: limits by address are skipped */
  readonly address?: string | undefined;
  /** Header fields by name, for limits by header. @default none */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Method of the request, for limits with the option `when`. @default "GET" */
  readonly method?: string | undefined;
  /** Path with query, for limits with the option `when`. @default "/" */
  readonly path?: string | undefined;
  /** The value that functions of limits get as the request. @default undefined */
  readonly request?: Raw | undefined;
}

export interface ExplainerOptions<Raw> {
  readonly guard: GuardServices<Raw> & { readonly degradation: Degradation };
  readonly verifier: Verifier;
  /** Maximum length of a token in characters. */
  readonly maxTokenLength: number;
  /** May tokens be padded with `=`? */
  readonly padded: boolean;
  /** The limits of `guard()`. */
  readonly limits: readonly Policy<Raw>[];
  /** All limits of the gate that have a name. */
  readonly policies: () => readonly Policy<Raw>[];
  /** Makes consumptions that nobody counts. */
  readonly consumptions: ConsumptionFactory<Raw>;
  readonly inspection: StoreInspection;
  /** Adds the function `revocation.isRevoked` to a store; undefined without one. */
  readonly ownCheck: ((store: DecisionStore) => DecisionStore) | undefined;
  readonly sessions: SessionStore;
  readonly keys: Keyspace;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** The findings of one explanation. */
interface Findings<Raw> {
  /** The token as text, without its scheme; undefined for any other value. */
  readonly token: string | undefined;
  outcome: VerifiedToken | TokenRefusal | undefined;
  needsKeys: boolean;
  readonly applied: AppliedPolicy<Raw>[];
  readonly skipped: ExplainedCheck[];
  readonly states: Map<string, CounterState | StoreFault>;
  records: FoundRecords | undefined;
  /** The answer of the store alone, and with `revocation.isRevoked`. */
  answer: Answer | undefined;
  finalAnswer: Answer | StoreFault | undefined;
}

/**
 * Explains what the guard says about a token now. It runs the guard itself: its services are replaced by others that read the
 * same state, and count, write, note and report nothing.
 */
export class Explainer<Raw> {
  readonly #options: ExplainerOptions<Raw>;

  constructor(options: ExplainerOptions<Raw>) {
    this.#options = options;
  }

  /** Rejects for wrong options alone, never for a token. */
  async explain(token: unknown, options: ExplainOptions<Raw> = {}): Promise<Explanation> {
    checkExplainOptions(options);
    const { keys, limits } = this.#options;
    const findings = findingsOf<Raw>(token);
    const exchange = exchangeOf(token, findings.token, options);
    await keys.resolved()?.catch(() => undefined);
    const applicable = limits.filter((policy) => this.#isKnown(policy, "limit", exchange, findings));
    const guard = createGuard(this.#previewServices(findings), {
      ...{ authentication: "required", limits: applicable, cache: false },
    });
    let verdict: Decision | undefined;
    let thrown: unknown;
    try {
      verdict = await guard(exchange);
    } catch (error) {
      thrown = error;
    }
    await this.#readRest(exchange, findings);
    return this.#conclude(token, verdict, thrown, findings);
  }

  /** The services of the guard, without effects. */
  #previewServices(findings: Findings<Raw>): GuardServices<Raw> {
    const { guard, verifier, maxTokenLength, padded, consumptions, ownCheck } = this.#options;
    const store = this.#previewStore(findings, ownCheck);
    const isPadded = padded && findings.token?.includes("=") === true;
    return {
      ...guard,
      sources: isPadded
        ? [{ kind: "function", read: () => findings.token, padded, maxLength: maxTokenLength }]
        : [{ kind: "header", maxLength: maxTokenLength }],
      verifier: {
        known: () => undefined,
        async verify(text) {
          const { outcome, needsKeys } = await inspectToken(verifier, text);
          findings.outcome = outcome;
          findings.needsKeys = needsKeys;
          return outcome;
        },
      },
      revocations: guard.revocations === undefined ? undefined : { remember: () => undefined },
      // A proof belongs to one request, so the key of a token that is bound to one is taken for proven.
      proofOfPossession:
        guard.proofOfPossession === undefined
          ? undefined
          : { prove: () => Promise.resolve({ replayCheck: { key: provenKey, ttlMs: 1 }, headers: [] }) },
      readCertificate: undefined,
      store,
      leasedStore: store,
      consumptions: {
        groupOf: (policies) => consumptions.groupOf(policies),
        nameOf: (applied) => consumptions.nameOf(applied),
        create: (group, exchange, verified) => this.#consume(group, exchange, verified, findings),
      },
      corrections: { adjust: () => undefined, renew: () => undefined, expire: () => undefined },
      settlement: { expect: () => undefined, answered: () => undefined, follow: () => undefined },
      telemetry: { limited: () => undefined },
      cache: undefined,
      degradation: guard.degradation.preview(),
      headers: false,
    };
  }

  #previewStore(findings: Findings<Raw>, ownCheck: ExplainerOptions<Raw>["ownCheck"]): DecisionStore {
    const preview = new PreviewStore(this.#options.inspection, {
      states(consumptions, states) {
        consumptions.forEach(({ key }, index) =>
          findings.states.set(key, states[index] ?? new StoreFault("unreadable")),
        );
      },
      records(records) {
        findings.records = records;
      },
      answer(question, answer) {
        if (question.token !== undefined) findings.answer = answer;
      },
    });
    const store = ownCheck?.(preview) ?? preview;
    return {
      async ask(question: Question) {
        const answer = await store.ask(question);
        if (question.token !== undefined) findings.finalAnswer = answer;
        return answer;
      },
    };
  }

  /** A limit whose functions fail is left out: they may need a request that nobody has given. */
  async #consume(
    group: readonly GroupMember<Raw>[],
    exchange: GateExchange<Raw>,
    verified: VerifiedToken | undefined,
    findings: Findings<Raw>,
  ): Promise<Consumed<Raw>> {
    const all: AppliedPolicy<Raw>[] = [];
    for (const member of group) {
      const { name } = member.policy;
      try {
        const consumed = await this.#options.consumptions.create([member], exchange, verified);
        if ("code" in consumed) return consumed;
        all.push(...consumed);
        if (consumed.length === 0) findings.skipped.push(skip("limit", name, "it does not apply to this request"));
      } catch (error) {
        findings.skipped.push(skip("limit", name, `its function threw ${nameOf(error)}; pass options.request`));
      }
    }
    findings.applied.push(...all);
    return all;
  }

  /** Can it be known whom this limit counts? */
  #isKnown(
    { name, per }: Policy<Raw>,
    part: "limit" | "other limit",
    exchange: GateExchange<Raw>,
    { skipped }: Findings<Raw>,
  ): boolean {
    if (exchange.ip !== undefined) return true;
    if (per.includes("ip")) skipped.push(skip(part, name, "it counts by address; pass options.address"));
    else if (per.some((one) => hasHeader(one) && exchange.header(one.header) === undefined))
      skipped.push(skip(part, name, "it counts by a header; pass options.headers"));
    else return true;
    return false;
  }

  /** Reads limits that the guard has not reached, and those that it does not apply. */
  async #readRest(exchange: GateExchange<Raw>, findings: Findings<Raw>): Promise<void> {
    const { consumptions, inspection } = this.#options;
    const verified = findings.outcome === undefined || "code" in findings.outcome ? undefined : findings.outcome;
    const further = { ...exchange, state: new RequestState() };
    if (verified !== undefined) further.state.identify(verified);
    const others = this.#otherPolicies().filter((policy) => this.#isKnown(policy, "other limit", exchange, findings));
    for (const member of consumptions.groupOf(others)) {
      try {
        const consumed = await consumptions.create([member], further, verified);
        if (!("code" in consumed)) findings.applied.push(...consumed);
      } catch (error) {
        const reason = `its function threw ${nameOf(error)}; pass options.request`;
        findings.skipped.push(skip("other limit", member.policy.name, reason));
      }
    }
    const unread = findings.applied
      .map(({ consumption }) => consumption)
      .filter(({ key }: Consumption) => !findings.states.has(key));
    if (unread.length === 0) return;
    const states = await inspection.counters(unread);
    unread.forEach(({ key }, index) => findings.states.set(key, states[index] ?? new StoreFault("unreadable")));
  }

  #otherPolicies(): readonly Policy<Raw>[] {
    const { limits, policies } = this.#options;
    return policies().filter((policy) => !limits.includes(policy));
  }

  async #conclude(
    token: unknown,
    verdict: Decision | undefined,
    thrown: unknown,
    findings: Findings<Raw>,
  ): Promise<Explanation> {
    const { now } = this.#options;
    const nowSeconds = now() / 1000;
    const { outcome, needsKeys } = findings;
    const verified = outcome === undefined || "code" in outcome ? undefined : outcome;
    const checks = await this.#checks(token, verdict, verified, findings, nowSeconds);
    const fault = faultIn(findings);
    const common = { fault: fault?.kind, user: verified === undefined ? undefined : describeUser(verified), checks };
    const said = this.#verdict(verdict, thrown, needsKeys);
    return { ...said, ...common, text: textOf({ ...said, ...common }, nowSeconds) };
  }

  #verdict(
    verdict: Decision | undefined,
    thrown: unknown,
    needsKeys: boolean,
  ): Pick<Explanation, "status" | "code" | "cause"> {
    if (verdict === undefined) {
      if (thrown instanceof StoreFault)
        return { status: thrown.status, code: thrown.code, cause: `the store is unavailable: ${thrown.kind}` };
      return { status: 500, code: "error", cause: `a function of the application threw ${nameOf(thrown)}` };
    }
    if (verdict.allowed) return { status: 200, code: "allowed", cause: "the guard passes the request on" };
    if (needsKeys) return { status: undefined, code: "undetermined", cause: verdict.cause };
    return { status: verdict.status, code: verdict.problem.code, cause: verdict.cause };
  }

  async #checks(
    token: unknown,
    verdict: Decision | undefined,
    verified: VerifiedToken | undefined,
    findings: Findings<Raw>,
    nowSeconds: number,
  ): Promise<readonly ExplainedCheck[]> {
    const { verifier, keys, limits, sessions } = this.#options;
    const { outcome, skipped, applied, states, answer, finalAnswer } = findings;
    const denied = verdict === undefined || verdict.allowed ? undefined : verdict;
    const detail = denied?.detail;
    const refusal = outcome !== undefined && "code" in outcome ? outcome : undefined;
    const claims = findings.token === undefined ? [] : inspectClaims(verifier, findings.token, nowSeconds);
    const wrong = refusal === undefined ? undefined : (detail?.claim ?? detail?.header ?? refusal.claim);
    const checks: ExplainedCheck[] = [
      {
        part: "token",
        name: "credentials",
        outcome: verified !== undefined ? "passed" : findings.needsKeys ? "unknown" : "failed",
        expected: "a JWT that this gate accepts",
        found: refusal?.cause ?? denied?.cause ?? kindOfToken(token),
      },
      ...checksOfClaims(claims, wrong, detail, verified !== undefined),
    ];
    if (verified?.boundTo !== undefined) checks.push(skip("proof", "DPoP", "each request needs a proof of its own"));
    if (
      this.#options.guard.readCertificate !== undefined &&
      boundCertificate(verified?.auth.claims ?? {}) !== undefined
    )
      checks.push(skip("proof", "certificate", "each request needs the client certificate of the token"));
    if (verified !== undefined) checks.push(...checksOfRecords(verified, findings.records, keys));
    if (this.#options.ownCheck !== undefined && answer?.revoked === false && finalAnswer !== undefined)
      checks.push(checkOfOwn(finalAnswer));
    if (verified !== undefined) checks.push(...(await describeSession(verified, sessions, keys)));
    for (const { policy, consumption } of applied) {
      const part = limits.includes(policy) ? "limit" : "other limit";
      const applies = { policy, consumption };
      const client = this.#options.consumptions.nameOf(applies);
      checks.push(describeLimit(part, applies, states.get(consumption.key), nameKey(consumption.key, keys), client));
    }
    return [...checks, ...skipped];
  }
}

/** A key that no gate has recorded, so that the proof of an explanation is never asked for. */
const provenKey = "explained";

function findingsOf<Raw>(token: unknown): Findings<Raw> {
  return {
    token: typeof token === "string" ? bareToken(token) : undefined,
    ...{ outcome: undefined, needsKeys: false, records: undefined, answer: undefined, finalAnswer: undefined },
    ...{ applied: [], skipped: [], states: new Map<string, CounterState | StoreFault>() },
  };
}

/** An operator may paste a whole header field. */
function bareToken(text: string): string {
  return text.trim().replace(/^(?:authorization:\s*)?(?:bearer|dpop)\s+/i, "");
}

function exchangeOf<Raw>(
  token: unknown,
  text: string | undefined,
  { address, headers = {}, method = "GET", path = "/", request }: ExplainOptions<Raw>,
): GateExchange<Raw> {
  const fields = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  fields.delete("authorization");
  const scheme = text !== undefined && readBoundKey(text) !== undefined ? "DPoP" : "Bearer";
  // Any other value than text is no token, and undefined, null and "" are none.
  const value = text === undefined ? "Bearer" : `${scheme} ${text}`;
  if (token !== undefined && token !== null && text !== "") fields.set("authorization", value);
  const exchange: GateExchange<Raw> = {
    ...eventExchange<Raw>(request as Raw, address),
    ...{ method, url: path, headerNames: [...fields.keys()], header: (name: string) => fields.get(name) },
    rawHeaders: [...fields].flat(),
  };
  exchange.state.markProofRecorded(provenKey);
  return exchange;
}

function checkExplainOptions<Raw>(options: ExplainOptions<Raw>): void {
  checkObject("explain()", options, ["address", "headers", "method", "path", "request"]);
  const { address, headers, method, path } = options;
  if (address !== undefined) checkString("explain().address", address);
  if (method !== undefined) checkString("explain().method", method);
  if (path !== undefined) checkString("explain().path", path);
  if (headers === undefined) return;
  checkObject("explain().headers", headers, Object.keys(headers));
  for (const [name, value] of Object.entries(headers)) checkString(`explain().headers.${name}`, value);
}

function describeUser({ auth }: VerifiedToken): ExplainedUser {
  const { issuer, principal, sessionId, jti, issuedAt, expiresAt } = auth;
  return { issuer, principal, sessionId, jti, issuedAt, expiresAt };
}

function checkOfOwn(answer: Answer | StoreFault): ExplainedCheck {
  const revoked = answer instanceof StoreFault ? answer : answer.revoked;
  const outcome = revoked instanceof StoreFault ? "unknown" : revoked === true ? "failed" : "passed";
  return {
    ...{ part: "own", name: "revocation.isRevoked", outcome, expected: "false" },
    found: revoked instanceof StoreFault ? `it failed or did not answer in time (${revoked.kind})` : String(revoked),
  };
}

/** The fault of the store that has decided most: that of the records before those of counters. */
function faultIn<Raw>({ records, answer, states }: Findings<Raw>): StoreFault | undefined {
  if (records?.fault !== undefined) return records.fault;
  if (answer?.revoked instanceof StoreFault) return answer.revoked;
  return [...states.values()].find((state) => state instanceof StoreFault);
}

function skip(part: ExplainedCheck["part"], name: string, found: string): ExplainedCheck {
  return { part, name, outcome: "skipped", found };
}

function kindOfToken(token: unknown): string {
  return token === "" ? "an empty text" : kindOf(token);
}

/** The kind of an error. Its message may contain anything. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.constructor.name : kindOf(error);
}
