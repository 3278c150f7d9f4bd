import { testAuth } from "@portcullis/testkit";
import { allAdapters } from "./app.js";
import type { AnyOptions, RunningApp, TestApp } from "./app.js";
import { silentLogger } from "./logger.js";
import { freshPrefix, testRedisUrl } from "./redis.js";

const stores = [
  { name: "in process", redis: () => "memory" },
  { name: "on Redis", redis: testRedisUrl },
];

/** What most tests ask. */
export const commonRoutes: TestApp["routes"] = {
  "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, scopes: auth?.scopes ?? [], quotas }),
  "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
};

/** Starts an application behind a gate; it is closed after the test. */
export type StartApp = (options?: Partial<AnyOptions>, rest?: Partial<TestApp>) => Promise<RunningApp>;

/** The same tests for every supported framework and on every store. */
export function describeOnEveryGate(what: string, body: (start: StartApp) => void): void {
  for (const adapter of allAdapters) {
    for (const { name, redis } of stores) {
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
  }
}
