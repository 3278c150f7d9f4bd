import { monotonicNow } from "../lib/real-timers.js";
import type { Denied, Verdict } from "../http/verdict.js";
import type { GateExchange } from "../request/state.js";
import type { DevelopmentLog } from "../telemetry/development-log.js";
import { events } from "../telemetry/events.js";
import type { Logger } from "../telemetry/logger.js";
import { hearsDebug } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";

export interface OutcomeServices {
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Undefined where no lines are printed for developers. */
  readonly developmentLog: DevelopmentLog | undefined;
  /** Is the process about to stop? Then connections end with the answer of their next request. */
  readonly stop: { readonly isDraining: boolean };
}

/** The differences between kinds of middleware. */
export interface OutcomeRules {
  /** Does the middleware answer requests for paths of its own alone? Then it does not decide about those that it lets pass. */
  readonly isRoute?: boolean | undefined;
  /** May other middleware see a request that this one has refused, since the refusal is thrown? */
  readonly throws?: boolean | undefined;
}

type AnyCheck<Raw, V> = (exchange: GateExchange<Raw>) => V | Promise<V>;

/**
 * The check with an outcome that is counted, logged and published. A gate counts each request once, whatever the number of its
 * middleware: at the first one, and again only if a later one refuses. Everything runs in the asynchronous context of the
 * request. The functions that note an outcome are made once, not for each request.
 */
export function observeOutcome<Raw, V extends Verdict>(
  check: AnyCheck<Raw, V>,
  { telemetry, logger, developmentLog, stop }: OutcomeServices,
  { isRoute = false, throws = false }: OutcomeRules = {},
): AnyCheck<Raw, V> {
  const logs = hearsDebug(logger);
  const first = noteWith("first");
  const later = noteWith("later");
  const again = noteWith("again");
  const route = noteWith("route");
  // Only for these the notes need the request.
  const needsRequest = throws || developmentLog !== undefined;

  return function observed(exchange) {
    if (stop.isDraining) exchange.endConnection?.();
    if (telemetry.decisions !== undefined || events.verdict.hasSubscribers) return decideTimed(exchange);
    return decide(exchange);
  };

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
    if (needsRequest) return noteWithRequest(note, verdict, exchange);
    return verdict instanceof Promise ? verdict.then(note.end, note.fail) : note.end(verdict);
  }

  function noteFor({ state }: GateExchange<Raw>): Note<V> {
    if (isRoute) return state.wasVisitedBy(telemetry) ? later : route;
    if (state.visit(telemetry)) return first;
    return state.isDone(telemetry.refusedMark) ? again : later;
  }

  function noteWithRequest(note: Note<V>, verdict: V | Promise<V>, exchange: GateExchange<Raw>): V | Promise<V> {
    function end(late: V): V {
      if (!late.allowed && late.problem !== undefined) {
        exchange.state.markDone(telemetry.refusedMark);
        developmentLog?.refused(telemetry.gate, late, exchange);
      }
      return note.end(late);
    }

    return verdict instanceof Promise ? verdict.then(end, note.fail) : end(verdict);
  }

  function noteWith(place: "first" | "later" | "again" | "route"): Note<V> {
    const isCounted = place !== "again";
    const hasPassed = place === "later";
    return {
      end(verdict) {
        if (verdict.allowed) {
          if (place === "first") telemetry.passed();
        } else if (verdict.problem !== undefined) {
          if (isCounted) telemetry.refused(verdict.problem.code, hasPassed);
          report(verdict);
        } else if (place === "first" || place === "route") telemetry.answered();
        return verdict;
      },
      fail(error) {
        if (isCounted) telemetry.failed(hasPassed);
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
