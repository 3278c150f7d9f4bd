import { operations } from "../lib/documentation.js";
import { monotonicNow } from "../lib/real-timers.js";
import type { Denied, Verdict } from "../http/verdict.js";
import type { GateExchange } from "../request/state.js";
import type { DevelopmentLog } from "../telemetry/development-log.js";
import { events } from "../telemetry/events.js";
import type { Logger } from "../telemetry/logger.js";
import { hearsDebug } from "../telemetry/logger.js";
import type { RequestCount } from "../telemetry/request-counts.js";
import type { Telemetry } from "../telemetry/telemetry.js";

export interface OutcomeServices {
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Undefined where no lines are printed for developers. */
  readonly developmentLog: DevelopmentLog | undefined;
  /** Is the process about to stop? Then connections end with the answer of their next request. */
  readonly stop: { readonly isDraining: boolean; readonly isClosed: boolean };
  readonly closed: ClosedGateWarning;
}

/** The differences between kinds of middleware. */
export interface OutcomeRules {
  /** Does the middleware answer requests for paths of its own alone? Then it does not decide about those that it lets pass. */
  readonly isRoute?: boolean | undefined;
}

type AnyCheck<Raw, V> = (exchange: GateExchange<Raw>) => V | Promise<V>;

/**
 * The check with an outcome that is counted, logged and published. A gate counts each request once, whatever the number of its
 * middleware: at the first one, and in another count if a later one decides otherwise. Everything runs in the asynchronous context
 * of the request. The functions that note an outcome are made once, except for a request that goes on after a refusal.
 */
export function observeOutcome<Raw, V extends Verdict>(
  check: AnyCheck<Raw, V>,
  { telemetry, logger, developmentLog, stop, closed }: OutcomeServices,
  { isRoute = false }: OutcomeRules = {},
): AnyCheck<Raw, V> {
  const logs = hearsDebug(logger);
  const first = noteWith("first");
  const later = noteWith("later");
  const route = noteWith("route");
  const { requests } = telemetry;

  return function observed(exchange) {
    if (stop.isDraining) endConnection(exchange);
    if (telemetry.decisions !== undefined || events.verdict.hasSubscribers) return decideTimed(exchange);
    return decide(exchange);
  };

  function endConnection(exchange: GateExchange<Raw>): void {
    if (stop.isClosed) closed.note();
    exchange.endConnection?.();
  }

  // A function of its own: one that makes a closure allocates its variables at each call.
  function decideTimed(exchange: GateExchange<Raw>): V | Promise<V> {
    return timeVerdict(() => decide(exchange), telemetry);
  }

  function decide(exchange: GateExchange<Raw>): V | Promise<V> {
    const note = noteFor(exchange);
    let verdict: V | Promise<V>;
    try {
      verdict = check(exchange);
    } catch (error) {
      return note.fail(error);
    }
    if (developmentLog !== undefined) return showInDevelopment(note, verdict, exchange);
    return verdict instanceof Promise ? verdict.then(note.end, note.fail) : note.end(verdict);
  }

  function noteFor(exchange: GateExchange<Raw>): Note<V> {
    const { state } = exchange;
    const before = state.countAt(requests);
    if (before !== undefined) return noteAfter(before, exchange);
    if (isRoute) return state.wasVisitedBy(telemetry) ? later : route;
    return state.visit(telemetry) ? first : later;
  }

  /** The note for a request that this gate has refused before: an error handler let it go on, or answers with this check. */
  function noteAfter(before: RequestCount, exchange: GateExchange<Raw>): Note<V> {
    const { state } = exchange;

    // Another check of the request may have moved it meanwhile.
    function leave(): boolean {
      if (!state.isDone(before)) return false;
      state.markUndone(before);
      before.takeBack();
      return true;
    }

    /** The adapter then notes the new count, or takes the second refusal back. */
    function refuse(count: RequestCount): void {
      if (!leave()) requests.allowed.takeBack();
      count.add();
    }

    return {
      end(verdict) {
        if (!verdict.allowed && verdict.problem !== undefined) {
          refuse(requests.denied(verdict.problem.code));
          report(verdict);
        } else {
          exchange.onClose((status) => {
            if (!before.explains(status) && leave()) requests.allowed.add();
          });
        }
        return verdict;
      },
      fail(error) {
        refuse(requests.thrown(error));
        throw error;
      },
    };
  }

  function showInDevelopment(note: Note<V>, verdict: V | Promise<V>, exchange: GateExchange<Raw>): V | Promise<V> {
    function end(late: V): V {
      if (!late.allowed && late.problem !== undefined) developmentLog?.refused(telemetry.gate, late, exchange);
      return note.end(late);
    }

    return verdict instanceof Promise ? verdict.then(end, note.fail) : end(verdict);
  }

  function noteWith(place: "first" | "later" | "route"): Note<V> {
    function refuse(count: RequestCount): void {
      if (place === "later") requests.allowed.takeBack();
      count.add();
    }

    return {
      end(verdict) {
        if (verdict.allowed) {
          if (place === "first") requests.allowed.add();
        } else if (verdict.problem !== undefined) {
          refuse(requests.denied(verdict.problem.code));
          report(verdict);
        } else if (place !== "later") requests.answered.add();
        return verdict;
      },
      fail(error) {
        refuse(requests.thrown(error));
        throw error;
      },
    };
  }

  function report(denied: Denied): void {
    if (logs) {
      const { cause, status, problem, detail } = denied;
      logger.debug({ gate: telemetry.gate, code: problem.code, status, cause, detail }, "portcullis: denied");
    }
    if (events.denied.hasSubscribers) telemetry.denied(denied);
  }
}

interface Note<V> {
  readonly end: (verdict: V) => V;
  readonly fail: (error: unknown) => never;
}

/** Measures and publishes a decision, in the asynchronous context of its request. */
function timeVerdict<V extends Verdict>(decide: () => V | Promise<V>, telemetry: Telemetry): V | Promise<V> {
  const start = monotonicNow();

  function publish(verdict: V): V {
    const durationMs = monotonicNow() - start;
    const outcome = verdict.allowed ? "allowed" : verdict.problem === undefined ? "answered" : "denied";
    telemetry.decisions?.observe(outcome, durationMs / 1000);
    if (!events.verdict.hasSubscribers) return verdict;
    const { gate } = telemetry;
    if (verdict.allowed) events.verdict.publish({ gate, code: "allowed", status: undefined, durationMs });
    else if (verdict.problem === undefined)
      events.verdict.publish({ gate, code: "answered", status: verdict.status, durationMs });
    else {
      const { problem, status, cause, detail } = verdict;
      events.verdict.publish({ gate, code: problem.code, status, durationMs, cause, detail });
    }
    return verdict;
  }

  const verdict = decide();
  return verdict instanceof Promise ? verdict.then(publish) : publish(verdict);
}

/** Says once that a gate gets requests after it was closed. */
export class ClosedGateWarning {
  readonly #logger: Logger;
  #warned = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  note(): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#logger.warn(
      { code: "gate_closed" },
      `portcullis: a request came to a gate after its close(): close the gate when the server has ended: server.close(() => void gate.close()) (see ${operations}#gate_closed)`,
    );
  }
}
