import type { Denied, Header, Reply, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import { outage } from "../lib/outage.js";
import { DenialError, allowed } from "../http/verdict.js";

/** Passes a request that every check passes, asked in order; the first refusal, or answer of another kind, ends it. */
export function every<Raw>(checks: readonly Check<Raw>[]): Check<Raw> {
  const [only] = checks;
  if (checks.length === 1 && only !== undefined) return only;
  return async function checkEvery(exchange) {
    const headers: Header[] = [];
    for (const check of checks) {
      const verdict = await check(exchange);
      if (!verdict.allowed) return verdict.problem === undefined ? withHeaders(headers, verdict) : verdict;
      headers.push(...verdict.headers);
    }
    return { allowed: true, headers };
  };
}

/** An answer behind checks that have passed the request, with the fields they have for its response. */
function withHeaders(headers: readonly Header[], reply: Reply): Reply {
  return headers.length === 0 ? reply : { ...reply, headers: [...headers, ...reply.headers] };
}

/** Applies a check only to requests that the condition does not match. */
export function exceptWhere<Raw>(matches: (exchange: GateExchange<Raw>) => boolean, check: Check<Raw>): Check<Raw> {
  return (exchange) => (matches(exchange) ? allowed : check(exchange));
}

/** Applies a check only to requests that the condition matches. */
export function onlyWhere<Raw>(matches: (exchange: GateExchange<Raw>) => boolean, check: Check<Raw>): Check<Raw> {
  return (exchange) => (matches(exchange) ? check(exchange) : allowed);
}

/**
 * Passes a request that one of the checks passes, asked in order, or answers it if one of them does. If none does, an outage
 * among the refusals is the answer, since it may have hidden a yes; else the first refusal. Each finds what was known before them: a refusal must not sign
 * out whom it is about, or limits per user would not count in what follows.
 */
export function some<Raw>(checks: readonly Check<Raw>[]): Check<Raw> {
  return async function checkSome(exchange) {
    const { state } = exchange;
    const { verified } = state;
    const denials: Denied[] = [];
    for (const check of checks) {
      const verdict = await check(exchange);
      if (verdict.allowed || verdict.problem === undefined) return verdict;
      denials.push(verdict);
      state.restore(verified);
    }
    return denials.find(({ status }) => status === outage.status) ?? denials[0] ?? allowed;
  };
}

/** Passes requests without credentials as anonymous; credentials that are there must be good all the same. */
export function anonymousToo<Raw>(check: Check<Raw>): Check<Raw> {
  function admit(verdict: Verdict): Verdict {
    return !verdict.allowed && verdict.problem?.code === "credentials_required" ? allowed : verdict;
  }

  return function checkUnlessAnonymous(exchange) {
    const verdict = check(exchange);
    return verdict instanceof Promise ? verdict.then(admit) : admit(verdict);
  };
}

/** Turns a refusal into an error for the application's own error handling. */
export function throwing<Raw>(check: Check<Raw>): Check<Raw> {
  function throwDenial(verdict: Verdict): Verdict {
    if (!verdict.allowed && verdict.problem !== undefined) throw new DenialError(verdict);
    return verdict;
  }

  return function checkOrThrow(exchange) {
    const verdict = check(exchange);
    return verdict instanceof Promise ? verdict.then(throwDenial) : throwDenial(verdict);
  };
}
