import type { ApplyProblemTypes } from "../http/problem-types.js";
import { typeProblems } from "../http/problem-types.js";
import type { Denied, DenyOptions, Verdict } from "../http/verdict.js";
import type { Attachment, Check, GateExchange } from "../request/state.js";
import type { RequestCounts } from "../telemetry/request-counts.js";
import { checkOneOf, optionError } from "../lib/validate.js";
import { allowAnonymous, throwOnDenial } from "./compose.js";
import { DroppedDenialWarning } from "./dropped-denials.js";
import { tokenExchange } from "./message-exchange.js";
import { ClosedGateWarning, observeOutcome } from "./request-outcomes.js";
import type { OutcomeRules, OutcomeServices } from "./request-outcomes.js";

/** The checks behind a middleware, from which `some()`, `unless()` and others make new middleware. */
export interface MiddlewareCheck<Raw> {
  readonly check: Check<Raw>;
  /** The check that lets requests without credentials pass as anonymous, but applies every part that needs no user. */
  readonly lenient: Check<Raw>;
  readonly onDeny: "respond" | "throw";
  /** Does the check identify the sender, or decide by identity? */
  readonly identifies: boolean;
}

export interface MiddlewareFactoryOptions<Raw, Middleware> extends Omit<OutcomeServices, "stop" | "closed"> {
  /** Makes a middleware of one framework from a check. */
  readonly bind: (check: Check<Raw>, attachment: Attachment) => Middleware;
  readonly problemTypes: ApplyProblemTypes;
}

/** Makes middleware of checks, observes their verdicts, and remembers which check a middleware was made of. */
export class MiddlewareFactory<Raw, Middleware extends object> {
  readonly #options: MiddlewareFactoryOptions<Raw, Middleware>;
  readonly #checks = new WeakMap<Middleware, MiddlewareCheck<Raw>>();
  readonly #attachments: ReturnType<typeof attachmentsOf>;
  readonly #state = { isDraining: false, isClosed: false };
  readonly #closed: ClosedGateWarning;

  constructor(options: MiddlewareFactoryOptions<Raw, Middleware>) {
    this.#options = options;
    const { logger, telemetry } = options;
    this.#closed = new ClosedGateWarning(logger);
    this.#attachments = attachmentsOf({}, telemetry.requests, new DroppedDenialWarning(logger));
  }

  /** The gate is closed: it says once if it still gets requests. */
  close(): void {
    this.drain();
    this.#state.isClosed = true;
  }

  /** From now on, every response of a middleware ends its connection. */
  drain(): void {
    this.#state.isDraining = true;
  }

  toMiddleware(
    check: Check<Raw>,
    { onDeny = "respond" }: DenyOptions = {},
    {
      lenient = allowAnonymous(check),
      identifies = false,
      isRoute = false,
    }: Partial<Pick<MiddlewareCheck<Raw>, "lenient" | "identifies">> & Pick<OutcomeRules, "isRoute"> = {},
  ): Middleware {
    checkOneOf("onDeny", onDeny, ["respond", "throw"]);
    const observed = this.observe(check, { isRoute });
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
    rules?: OutcomeRules,
  ): (exchange: GateExchange<Raw>) => V | Promise<V> {
    const typed = typeProblems(check, this.#options.problemTypes);
    return observeOutcome(typed, { ...this.#options, closed: this.#closed, stop: this.#state }, rules);
  }

  /** Counts, logs and publishes a refusal that no check has decided. `wasAllowed`: a check has counted its request as allowed. */
  noteRefusal(denied: Denied, wasAllowed: boolean): void {
    if (wasAllowed) this.#options.telemetry.requests.allowed.takeBack();
    void this.observe(() => denied)(tokenExchange<Raw>(""));
  }
}

function attachmentsOf(
  gate: object,
  counts: RequestCounts,
  thrown: Attachment["thrown"],
): Readonly<Record<"identifying" | "plain", Attachment>> {
  return {
    identifying: { gate, identifies: true, counts, thrown },
    plain: { gate, identifies: false, counts, thrown },
  };
}
