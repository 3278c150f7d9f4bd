import type { ApplyProblemTypes } from "../http/problem-types.js";
import { typeProblems } from "../http/problem-types.js";
import type { DenyOptions, Verdict } from "../http/verdict.js";
import type { Attachment, Check, GateExchange } from "../request/state.js";
import { checkOneOf, optionError } from "../lib/validate.js";
import { events } from "../telemetry/events.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { allowAnonymous, throwOnDenial } from "./compose.js";

/** The checks behind a middleware, from which `some()`, `unless()` and others make new middleware. */
export interface MiddlewareCheck<Raw> {
  readonly check: Check<Raw>;
  /** The check that lets requests without credentials pass as anonymous, but applies every part that needs no user. */
  readonly lenient: Check<Raw>;
  readonly onDeny: "respond" | "throw";
  /** Does the check identify the sender, or decide by identity? */
  readonly identifies: boolean;
}

export interface MiddlewareFactoryOptions<Raw, Middleware> {
  /** Makes a middleware of one framework from a check. */
  readonly bind: (check: Check<Raw>, attachment: Attachment) => Middleware;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly problemTypes: ApplyProblemTypes;
}

/** Makes middleware of checks, observes their verdicts, and remembers which check a middleware was made of. */
export class MiddlewareFactory<Raw, Middleware extends object> {
  readonly #options: MiddlewareFactoryOptions<Raw, Middleware>;
  readonly #checks = new WeakMap<Middleware, MiddlewareCheck<Raw>>();
  readonly #attachments = attachmentsOf({});

  constructor(options: MiddlewareFactoryOptions<Raw, Middleware>) {
    this.#options = options;
  }

  toMiddleware(
    check: Check<Raw>,
    { onDeny = "respond" }: DenyOptions = {},
    {
      lenient = allowAnonymous(check),
      identifies = false,
    }: Partial<Pick<MiddlewareCheck<Raw>, "lenient" | "identifies">> = {},
  ): Middleware {
    checkOneOf("onDeny", onDeny, ["respond", "throw"]);
    const observed = this.observe(check);
    const attachment = identifies ? this.#attachments.identifying : this.#attachments.plain;
    const middleware = this.#options.bind(onDeny === "throw" ? throwOnDenial(observed) : observed, attachment);
    this.#checks.set(middleware, { check, onDeny, lenient, identifies });
    return middleware;
  }

  /** The checks of a middleware of this gate. A middleware of another gate is a wrong option. */
  checkOf(option: string, middleware: Middleware): MiddlewareCheck<Raw> {
    const known = this.#checks.get(middleware);
    if (known === undefined) throw optionError(option, "takes middleware made by this gate");
    return known;
  }

  /** A middleware made of others. It throws refusals if one of them does, unless `onDeny` is given. */
  combine(
    parts: readonly MiddlewareCheck<Raw>[],
    build: (checks: readonly Check<Raw>[]) => Check<Raw>,
    onDeny: "respond" | "throw" = parts.some((part) => part.onDeny === "throw") ? "throw" : "respond",
  ): Middleware {
    const lenient = build(parts.map((part) => part.lenient));
    const identifies = parts.some((part) => part.identifies);
    return this.toMiddleware(build(parts.map(({ check }) => check)), { onDeny }, { lenient, identifies });
  }

  /** The check with verdicts that are counted, logged and published. */
  observe<V extends Verdict>(
    check: (exchange: GateExchange<Raw>) => V | Promise<V>,
  ): (exchange: GateExchange<Raw>) => V | Promise<V> {
    const { telemetry, logger } = this.#options;
    const typed = typeProblems(check, this.#options.problemTypes);

    function note(verdict: V): V {
      if (verdict.allowed) {
        telemetry.allowed();
      } else if (verdict.problem !== undefined) {
        const { cause, status, problem } = verdict;
        logger.debug({ code: problem.code, status, cause }, "portcullis: denied");
        telemetry.denied(problem.code, status, cause);
      }
      return verdict;
    }

    function decide(exchange: GateExchange<Raw>): V | Promise<V> {
      const verdict = typed(exchange);
      return verdict instanceof Promise ? verdict.then(note) : note(verdict);
    }

    return function observed(exchange) {
      return events.verdict.hasSubscribers ? timeVerdict(() => decide(exchange)) : decide(exchange);
    };
  }
}

function attachmentsOf(gate: object): { readonly identifying: Attachment; readonly plain: Attachment } {
  return { identifying: { gate, identifies: true }, plain: { gate, identifies: false } };
}

/** Publishes the duration of a decision, in the asynchronous context of its request. */
function timeVerdict<V extends Verdict>(decide: () => V | Promise<V>): V | Promise<V> {
  const start = performance.now();

  function publish(verdict: V): V {
    const durationMs = performance.now() - start;
    if (verdict.allowed) events.verdict.publish({ code: "allowed", status: undefined, durationMs });
    else events.verdict.publish({ code: verdict.problem?.code ?? "answered", status: verdict.status, durationMs });
    return verdict;
  }

  const verdict = decide();
  return verdict instanceof Promise ? verdict.then(publish) : publish(verdict);
}
