// Requests at a steady rate, however slowly they are answered: an outage must not slow down the load that measures it.
import { Agent, request } from "node:http";
import { quantile } from "./statistics.mjs";

const tickMs = 2;

/**
 * One request. Times are milliseconds of `performance.now()`; status 0 stands for a connection that failed.
 *
 * @typedef {{ sentAt: number, ms: number, status: number, bad: boolean }} Visit
 */

/**
 * @param {{ port: number, rate: number, token: (index: number) => string, revoked?: string }} how Every fifth request has
 *   the revoked token, if there is one.
 */
export function startPulse({ port, rate, token, revoked }) {
  const agent = new Agent({ keepAlive: true });
  /** @type {Visit[]} */
  const visits = [];
  const pending = new Set();
  const start = performance.now();
  let sent = 0;

  function visit(index) {
    const bad = revoked !== undefined && index % 5 === 4;
    const headers = { authorization: `Bearer ${bad ? revoked : token(index)}` };
    const sentAt = performance.now();
    return new Promise((resolve) => {
      function settle(status) {
        visits.push({ sentAt, ms: performance.now() - sentAt, status, bad });
        resolve();
      }
      request({ host: "127.0.0.1", port, agent, headers }, (answer) => {
        answer.resume();
        answer.on("end", () => settle(answer.statusCode));
      })
        .on("error", () => settle(0))
        .end();
    });
  }

  const timer = setInterval(() => {
    const due = ((performance.now() - start) / 1000) * rate;
    for (; sent < due; sent += 1) {
      const visiting = visit(sent).then(() => pending.delete(visiting));
      pending.add(visiting);
    }
  }, tickMs);

  return {
    /** Ends the load when all is answered, and tells what became of each request, in the order they were sent. */
    async stop() {
      clearInterval(timer);
      await Promise.all(pending);
      agent.destroy();
      return visits.sort((a, b) => a.sentAt - b.sentAt);
    },
  };
}

/** What became of the requests that were sent within a span. */
export function sumUp(visits, from, to) {
  const some = visits.filter(({ sentAt }) => sentAt >= from && sentAt < to);
  const times = some.map(({ ms }) => ms).sort((a, b) => a - b);
  return {
    sent: some.length,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    longest: times.at(-1) ?? Number.NaN,
    /** Answers other than those that are right for their token. */
    failed: some.filter(({ status, bad }) => status !== (bad ? 401 : 200)).length,
    /** Revoked tokens that were accepted. */
    accepted: some.filter(({ status, bad }) => bad && status === 200).length,
  };
}

/** How long every answer must be right for the service to be called normal. */
const steadyMs = 500;

/** Milliseconds from a moment until all answers are right again; NaN if they never are. */
export function timeToNormal(visits, moment) {
  const later = visits.filter(({ sentAt }) => sentAt >= moment);
  const failures = later.filter(({ status, bad }) => status !== (bad ? 401 : 200)).map(({ sentAt }) => sentAt);
  const end = later.at(-1)?.sentAt ?? Number.NEGATIVE_INFINITY;
  const found = later.find(
    ({ sentAt }) => sentAt + steadyMs <= end && !failures.some((at) => at >= sentAt && at < sentAt + steadyMs),
  );
  return found === undefined ? Number.NaN : found.sentAt - moment;
}
