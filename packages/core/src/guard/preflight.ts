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
   * The same admission, but a preflight that it lets pass gets its whole answer here. Passed on, it would be a request that
   * nobody has authenticated, before a handler that may not look at the method.
   */
  inPlaceOf<Raw>(admit: (exchange: GateExchange<Raw>) => Decision | Promise<Decision>): Check<Raw> {
    const answer = (decision: Decision): Verdict => this.#answer(decision);
    return function admitOrAnswer(exchange) {
      const decision = admit(exchange);
      if (!isPreflight(exchange)) return decision;
      return decision instanceof Promise ? decision.then(answer) : answer(decision);
    };
  }

  #answer(decision: Decision): Decision | Reply {
    if (!decision.allowed) return decision;
    if (!this.#warned) {
      this.#warned = true;
      const advice = 'put the CORS middleware before the gate, or say preflight: "pass" if it stands behind it';
      this.#logger.warn({}, `portcullis: a CORS preflight was answered without CORS fields; ${advice}`);
    }
    return { allowed: false, status: 204, headers: [...decision.headers, noStore], body: "" };
  }
}
