import type { Decision, Header, Reply, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import type { Logger } from "../telemetry/logger.js";
import { isPreflight } from "./identify.js";

const noStore: Header = ["Cache-Control", "no-store"];

/** Answers the CORS preflights of one gate. */
export class PreflightAnswers {
  readonly #logger: Logger;
  #warned = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /**
   * The guard, but a preflight that passes it is answered here. Otherwise an unauthenticated request would reach a handler, and
   * the handler may not look at the method.
   */
  wrap<Raw>(guard: (exchange: GateExchange<Raw>) => Decision | Promise<Decision>): Check<Raw> {
    const answer = (decision: Decision): Verdict => this.#answer(decision);
    return function guardOrAnswer(exchange) {
      const decision = guard(exchange);
      if (!isPreflight(exchange)) return decision;
      return decision instanceof Promise ? decision.then(answer) : answer(decision);
    };
  }

  #answer(decision: Decision): Decision | Reply {
    if (!decision.allowed) return decision;
    if (!this.#warned) {
      this.#warned = true;
      const advice = 'put the CORS middleware before the gate, or set preflight: "pass" if it comes after the gate';
      this.#logger.warn({}, `portcullis: a CORS preflight was answered without CORS fields; ${advice}`);
    }
    return { allowed: false, status: 204, headers: [...decision.headers, noStore], body: "" };
  }
}
