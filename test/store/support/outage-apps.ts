import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { adapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";
import { until } from "../../support/until.js";

/** So long that a request which waits for it is told from one that does not, on a busy machine too. */
const connectDeadline = 2000;
const slackMs = 1500;
/** The longest that a first request may take. */
export const firstMs = connectDeadline + slackMs;

/** An answer, with the time that it took. */
export interface Timed {
  readonly status: number;
  readonly retryAfter: unknown;
  readonly ms: number;
}

/** One request with a good token. */
export async function ask({ url }: RunningApp, path = "/me"): Promise<Timed> {
  const token = await signToken();
  const start = performance.now();
  const { status, headers } = await send(url + path, { token, method: path === "/me" ? "GET" : "POST" });
  return { status, retryAfter: headers["retry-after"], ms: performance.now() - start };
}

/** An application of each framework, before its gate has connected. */
export async function startAll(redis: AnyOptions["redis"]): Promise<RunningApp[]> {
  return Promise.all(
    adapters.map(async (adapter) =>
      adapter.start({
        options: {
          ...{ redis, prefix: freshPrefix(), auth: testAuth, logger: silentLogger, service: "orders" },
          ...{ deadline: 50, connectDeadline, limits: [{ name: "ip", per: "ip", limit: 10_000, window: "1h" }] },
        },
        use: (gate) => [gate.unless({ path: "/issue" }, gate.guard())],
        routes: {
          "GET /me": ({ auth }) => auth?.subject ?? null,
          "POST /issue": (_request, gate) => gate.oneTime.issue("reset", { a: 1 }, { ttl: "10m" }),
        },
      }),
    ),
  );
}

/** Nobody passes, in time: the first requests within `connectDeadline`, and in a long outage no request waits for it. */
export async function expectOutage(app: RunningApp): Promise<void> {
  const first = await Promise.all([ask(app), ask(app), ask(app, "/issue")]);
  for (const { status, retryAfter, ms } of first) {
    expect([status, retryAfter]).to.deep.equal([503, "1"]);
    expect(ms).to.be.below(firstMs);
  }
  const start = performance.now();
  for (let count = 0; count < 10; count += 1)
    for (const { status, retryAfter } of [await ask(app), await ask(app, "/issue")])
      expect([status, retryAfter]).to.deep.equal([503, "1"]);
  expect(performance.now() - start, "20 requests").to.be.below(firstMs);
  expect((await send(`${app.url}/me`)).status, "without a token").to.equal(401);
}

/** Resolves when requests are served. */
export async function recovers(app: RunningApp): Promise<void> {
  await until(async () => (await ask(app)).status === 200 && (await ask(app, "/issue")).status === 200);
}
