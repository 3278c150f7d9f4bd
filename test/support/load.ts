import { Agent, request } from "node:http";
import { cleanUp } from "./clean-up.js";
import { startLoopClock } from "./loop-clock.js";

/** What became of the requests of a load. */
export interface LoadResult {
  readonly sent: number;
  /** How many by status; 0 stands for a connection that failed. */
  readonly statuses: ReadonlyMap<number, number>;
  /** Milliseconds of the slowest, of those in which this process had nothing else to do. */
  readonly slowestMs: number;
  /** Answers that must not be: a revoked token that was accepted. */
  readonly accepted: number;
}

export interface LoadOptions {
  readonly token: string;
  /** Sent with every fifth request; it must never be accepted. */
  readonly revoked: string;
  /** Requests a second. @default 500 */
  readonly rate?: number;
}

export interface Load {
  /** Ends it and resolves to what became of it; may be called twice. Done after the test in any case. */
  stop(): Promise<LoadResult>;
}

const tickMs = 10;
/** Where the machine is too busy for the rate, fewer are sent: only the gate may make one wait. */
const maxPending = 100;

/** Sends requests at a steady rate, however slowly they are answered, over real connections. */
export function startLoad(url: string, { token, revoked, rate = 500 }: LoadOptions): Load {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  const clock = startLoopClock();
  const statuses = new Map<number, number>();
  const pending = new Set<Promise<void>>();
  const start = performance.now();
  let sent = 0;
  let skipped = 0;
  let slowestMs = 0;
  let accepted = 0;

  function visit(bad: boolean): Promise<void> {
    const since = clock();
    return new Promise((resolve) => {
      function settle(status: number): void {
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        slowestMs = Math.max(slowestMs, clock() - since);
        if (bad && status === 200) accepted += 1;
        resolve();
      }
      request(url, { agent, headers: { authorization: `Bearer ${bad ? revoked : token}` } }, (answer) => {
        answer.resume();
        answer.on("end", () => settle(answer.statusCode ?? 0));
      })
        .on("error", () => settle(0))
        .end();
    });
  }

  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - start) / 1000) * rate) - skipped - sent;
    const now = Math.min(due, maxPending - pending.size);
    skipped += due - now;
    for (let index = 0; index < now; index += 1) {
      sent += 1;
      const visiting = visit(sent % 5 === 0).then(() => void pending.delete(visiting));
      pending.add(visiting);
    }
  }, tickMs);

  async function stop(): Promise<LoadResult> {
    clearInterval(timer);
    await Promise.all(pending);
    agent.destroy();
    return { sent, statuses, slowestMs, accepted };
  }

  cleanUp(stop);
  return { stop };
}
