import type { DenialCode, Denied, Problem, Verdict } from "./verdict.js";
import { problemAnswer } from "./verdict.js";
import { checkString, optionError } from "../lib/validate.js";

/** Gives the problem of a refusal its type. Any other verdict, and a problem that has a type, stay as they are. */
export type ApplyProblemTypes = <V extends Verdict>(verdict: V) => V;

/**
 * Problems get the types of option `problemTypes`: this address and the code. Without the option they stay of the type
 * `about:blank`. Types that are registered with IANA stay in any case.
 */
export function createProblemTypes(base: string | undefined): ApplyProblemTypes {
  if (base === undefined) return keepTypes;
  const start = base;
  const answers = new Map<DenialCode, Pick<Denied, "problem" | "body" | "headers">>();

  function answerOf({ code, status, title, detail = title }: Problem): Pick<Denied, "problem" | "body" | "headers"> {
    let answer = answers.get(code);
    if (answer === undefined)
      answers.set(code, (answer = problemAnswer({ type: start + code, title: detail, status, code })));
    return answer;
  }

  return function applyProblemTypes(verdict) {
    if (verdict.allowed || verdict.problem === undefined || verdict.problem.type !== "about:blank") return verdict;
    const { problem, body, headers } = answerOf(verdict.problem);
    const others = verdict.headers.filter(([name]) => !headers.some(([own]) => own === name));
    // A refusal may have members that are made when they are read.
    const copy = Object.defineProperties({}, Object.getOwnPropertyDescriptors(verdict)) as typeof verdict;
    return Object.assign(copy, { problem, body, headers: [...others, ...headers] });
  };
}

function keepTypes<V extends Verdict>(verdict: V): V {
  return verdict;
}

/** The check with types for its problems. Without option `problemTypes` it is the check itself. */
export function typeProblems<Exchange, V extends Verdict>(
  check: (exchange: Exchange) => V | Promise<V>,
  problemTypes: ApplyProblemTypes,
): (exchange: Exchange) => V | Promise<V> {
  if (problemTypes === keepTypes) return check;
  return function checkWithTypes(exchange) {
    const verdict = check(exchange);
    return verdict instanceof Promise ? verdict.then(problemTypes) : problemTypes(verdict);
  };
}

/** Checks option `problemTypes`. A code follows the address without a separator of its own. */
export function checkProblemTypes(base: unknown): asserts base is string {
  checkString("problemTypes", base);
  if (!URL.canParse(base) || !/^[\x21-\x7e]*[/#:=]$/.test(base))
    throw optionError(
      "problemTypes",
      'must be an absolute URI that ends with /, #, : or =, such as "https://api.example.com/problems/"',
    );
}
