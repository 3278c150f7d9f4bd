import type { Verdict } from "../http/verdict.js";
import { events } from "./events.js";

/** Publishes how long a decision took, in the asynchronous context of its request. */
export function timeVerdict<V extends Verdict>(decide: () => V | Promise<V>): V | Promise<V> {
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
