import type { DenyOptions, Verdict } from "../http/verdict.js";
import type { Attachment, Check, GateExchange } from "../request/state.js";
import { checkOneOf, optionError } from "../lib/validate.js";
import { events } from "../telemetry/events.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { anonymousToo, throwing } from "./compose.js";

/** A middleware as its gate remembers it, to build others from it. */
export interface MiddlewareCheck<Raw> {
  readonly check: Check<Raw>;
  /** The same for requests with credentials; others pass as anonymous, with everything that needs nobody signed in. */
  readonly lenient: Check<Raw>;
  readonly onDeny: "respond" | "throw";
  /** Does it find out who is asking, or decide by that? */
  readonly identifies: boolean;
}

export interface MiddlewareFactoryOptions<Raw, Middleware> {
  /** Makes a middleware of one framework from a check. */
  readonly bind: (check: Check<Raw>, seat: Attachment) => Middleware;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** Makes middleware of checks: observed, refusing as told, and remembered, so that other middleware can be made of it. */
export class MiddlewareFactory<Raw, Middleware extends object> {
  readonly #options: MiddlewareFactoryOptions<Raw, Middleware>;
  readonly #made = new WeakMap<Middleware, MiddlewareCheck<Raw>>();
  readonly #seats = attachmentsOf({});

  constructor(options: MiddlewareFactoryOptions<Raw, Middleware>) {
    this.#options = options;
  }

  toMiddleware(
    check: Check<Raw>,
    { onDeny = "respond" }: DenyOptions = {},
    {
      lenient = anonymousToo(check),
      identifies = false,
    }: Partial<Pick<MiddlewareCheck<Raw>, "lenient" | "identifies">> = {},
  ): Middleware {
    checkOneOf("onDeny", onDeny, ["respond", "throw"]);
    const observed = this.observe(check);
    const seat = identifies ? this.#seats.front : this.#seats.back;
    const middleware = this.#options.bind(onDeny === "throw" ? throwing(observed) : observed, seat);
    this.#made.set(middleware, { check, onDeny, lenient, identifies });
    return middleware;
  }

  /** What a middleware of this gate was made of; that of others is a wrong option. */
  checkOf(option: string, middleware: Middleware): MiddlewareCheck<Raw> {
    const known = this.#made.get(middleware);
    if (known === undefined) throw optionError(option, "takes middleware made by this gate");
    return known;
  }

  /** Middleware made of others: it throws if one of them does, unless told otherwise. */
  combine(
    parts: readonly MiddlewareCheck<Raw>[],
    build: (checks: readonly Check<Raw>[]) => Check<Raw>,
    onDeny: "respond" | "throw" = parts.some((part) => part.onDeny === "throw") ? "throw" : "respond",
  ): Middleware {
    const lenient = build(parts.map((part) => part.lenient));
    const identifies = parts.some((part) => part.identifies);
    return this.toMiddleware(build(parts.map(({ check }) => check)), { onDeny }, { lenient, identifies });
  }

  /** The same check, with its verdicts counted, logged and published. */
  observe<V extends Verdict>(
    check: (exchange: GateExchange<Raw>) => V | Promise<V>,
  ): (exchange: GateExchange<Raw>) => V | Promise<V> {
    const { telemetry, logger } = this.#options;

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
      const verdict = check(exchange);
      return verdict instanceof Promise ? verdict.then(note) : note(verdict);
    }

    return function observed(exchange) {
      return events.verdict.hasSubscribers ? timeVerdict(() => decide(exchange)) : decide(exchange);
    };
  }
}

function attachmentsOf(gate: object): { readonly front: Attachment; readonly back: Attachment } {
  return { front: { gate, identifies: true }, back: { gate, identifies: false } };
}

/** Publishes how long a decision took, in the asynchronous context of its request. */
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
