import { testAuth } from "@portcullis/testkit";
import { allAdapters, nodeAdapter } from "./app.js";
import type { AnyOptions, RunningApp, TestAdapter, TestApp } from "./app.js";
import { silentLogger } from "./logger.js";
import { freshPrefix, testRedisUrl } from "./redis.js";
import { isSoak } from "./soak.js";

type Store = (typeof stores)[number];

const stores = [
  { name: "in process", redis: () => "memory" },
  { name: "on Redis", redis: testRedisUrl },
] as const;
const [inProcess, onRedis] = stores;

/** What most tests ask. */
export const commonRoutes: TestApp["routes"] = {
  "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, scopes: auth?.scopes ?? [], quotas }),
  "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
};

/** Starts an application behind a gate; it is closed after the test. */
export type StartApp = (options?: Partial<AnyOptions>, rest?: Partial<TestApp>) => Promise<RunningApp>;

/** The same tests for every supported framework and on every store. */
export function describeOnEveryGate(what: string, body: (start: StartApp) => void): void {
  for (const adapter of allAdapters) for (const store of stores) describeOn(adapter, store, what, body);
}

/**
 * The same tests for every supported framework, where one store does as the other: Express and Koa are each tried on
 * both, one of their majors on each. `npm run test:soak` tries every major on both.
 */
export function describeOnEveryFramework(what: string, body: (start: StartApp) => void): void {
  if (isSoak) return describeOnEveryGate(what, body);
  for (const [index, adapter] of allAdapters.entries())
    describeOn(adapter, index === 0 || index === 3 ? inProcess : onRedis, what, body);
}

/** The same tests once more, on Redis, for the adapter in core's README: it proves that core's contract needs no framework. */
export function withNodeAdapter(describeEach: typeof describeOnEveryGate): typeof describeOnEveryGate {
  return function describeEachAndNode(what, body) {
    describeEach(what, body);
    describeOn(nodeAdapter, onRedis, what, body);
  };
}

function describeOn(adapter: TestAdapter, { name, redis }: Store, what: string, body: (start: StartApp) => void): void {
  describe(`${what} on ${adapter.name} ${name}`, () => {
    const running: RunningApp[] = [];

    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
    });

    body(async function start(options = {}, rest = {}) {
      const app = await adapter.start({
        options: {
          redis: redis(),
          prefix: freshPrefix(),
          auth: testAuth,
          deadline: 1000,
          logger: silentLogger,
          ...options,
        },
        routes: commonRoutes,
        ...rest,
      });
      running.push(app);
      return app;
    });
  });
}
