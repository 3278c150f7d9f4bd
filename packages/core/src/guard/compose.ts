import type { Denied, Header, Reply, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import { outage } from "../lib/outage.js";
import { DenialError, allowed } from "../http/verdict.js";

/** Passes a request that every check passes. Checks run in order; the first refusal or reply is the verdict. */
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

/** A reply with the header fields of the checks before it. */
function withHeaders(headers: readonly Header[], reply: Reply): Reply {
  return headers.length === 0 ? reply : { ...reply, headers: [...headers, ...reply.headers] };
}

/** Applies a check only to requests that the condition does not match. */
export function exceptWhere<Raw>(matches: (exchange: GateExchange<Raw>) => boolean, check: Check<Raw>): Check<Raw> {
  return (exchange) => (matches(exchange) ? skip(exchange) : check(exchange));
}

/** Applies a check only to requests that the condition matches. */
export function onlyWhere<Raw>(matches: (exchange: GateExchange<Raw>) => boolean, check: Check<Raw>): Check<Raw> {
  return (exchange) => (matches(exchange) ? check(exchange) : skip(exchange));
}

/** The check may be a guard: then a limit per user behind it finds no user, which is meant. */
function skip({ state }: GateExchange): Verdict {
  state.skipGuard();
  return allowed;
}

/**
 * Passes a request that any of the checks passes; checks run in order, and a reply ends them. If all refuse, the verdict is the
 * refusal for an outage, if there is one, since that check might have passed the request; else the first refusal. Each check
 * starts with the identity from before: a refusal must not sign the user out, or later limits per user would not count.
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

/** Passes requests without credentials as anonymous. Bad credentials are still refused. */
export function allowAnonymous<Raw>(check: Check<Raw>): Check<Raw> {
  function allowWithout(verdict: Verdict): Verdict {
    return !verdict.allowed && verdict.problem?.code === "credentials_required" ? allowed : verdict;
  }

  return function checkUnlessAnonymous(exchange) {
    const verdict = check(exchange);
    return verdict instanceof Promise ? verdict.then(allowWithout) : allowWithout(verdict);
  };
}

/** Throws a refusal as an error, for the application's own error handling. */
export function throwOnDenial<Raw>(check: Check<Raw>): Check<Raw> {
  function throwDenial(verdict: Verdict): Verdict {
    if (!verdict.allowed && verdict.problem !== undefined) throw new DenialError(verdict);
    return verdict;
  }

  return function checkOrThrow(exchange) {
    const verdict = check(exchange);
    return verdict instanceof Promise ? verdict.then(throwDenial) : throwDenial(verdict);
  };
}
