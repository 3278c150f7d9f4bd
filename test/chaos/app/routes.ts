import { inspect } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import type { AnyGate, AnyMiddleware, TestApp, TestRequest } from "../../support/app.js";
import { monotonicMs } from "../history.js";
import { limits, orders, ruled, settled, slots, windowSeconds } from "../settings.js";
import { postsOf, streams } from "./events.js";
import { askFenced, askSource, tell } from "./source.js";

type Headers = Readonly<Record<string, string | undefined>>;

function headersOf(request: TestRequest): Headers {
  return (request as unknown as { headers: Headers }).headers;
}

function refuse(status: number): never {
  throw Object.assign(new Error(`${status}`), { status });
}

const window = `${windowSeconds}s` as const;
const byKey = { header: "x-key" } as const;

/** What stands in front of the handlers, each at the paths that it is for. */
export function middleware(gate: AnyGate): AnyMiddleware[] {
  return [witness, ...checks(gate), ...streams(gate)];
}

/** Koa tells nobody why it answered 500; Express tells the client. */
const witness = (async (ctx: unknown, next: unknown, third?: () => void): Promise<void> => {
  if (third !== undefined) return third();
  try {
    await (next as () => Promise<void>)();
  } catch (error) {
    if (!(error instanceof Error && "status" in error))
      tell({ type: "complaint", text: `not caught: ${inspect(error)}` });
    throw error;
  }
}) as unknown as AnyMiddleware;

function checks(gate: AnyGate): AnyMiddleware[] {
  const failures = { name: "failures", per: byKey, limit: 1000, window: "10m", countOnly: "failures" } as const;
  return [
    gate.when({ path: "/login" }, gate.throttleLogin({ account: ({ headers }) => headers["x-account"] })),
    gate.when({ path: ["/me", "/mine", "/mine/page", "/logout", "/everywhere", "/revoke"] }, gate.guard()),
    ...Object.entries(limits).map(([name, policy]) =>
      gate.when({ path: `/limited/${name}` }, gate.limit({ name, per: byKey, window, ...policy })),
    ),
    gate.when({ path: "/ruled" }, gate.limit({ name: "ruled", per: byKey, limit: ruled.limit, window: "1h" })),
    gate.when({ path: "/slots" }, gate.limit({ name: "slots", per: byKey, algorithm: "concurrency", ...slots })),
    gate.when(
      { path: "/settled" },
      gate.limit({
        ...{ name: "settled", per: byKey, limit: 1000, window: "10m", cost: settled.cost },
        settle: () => settled.costs,
      }),
    ),
    gate.when({ path: "/failures" }, gate.limit(failures)),
    gate.when(
      { path: "/orders" },
      gate.idempotency({
        ...{ required: true, onConflict: "wait", ...orders },
        caller: ({ headers }) => headers["x-account"] as string | undefined,
      }),
    ),
    gate.when({ path: ["/cached", "/tracked"] }, gate.requestCache()),
    gate.when(
      { path: "/page" },
      gate.cacheResponse({ ttl: "1h", tags: ({ headers }) => [`page ${String(headers["x-key"])}`] }),
    ),
    gate.when({ path: "/mine/page" }, gate.cacheResponse({ per: "user", ttl: "1h" })),
  ];
}

/** Runs a handler behind a limit, and tells when it ran. */
async function work(request: TestRequest, policy: string): Promise<object> {
  const { "x-key": key = "", "x-operation": operation, "x-work": ms } = headersOf(request);
  const entered = monotonicMs();
  await sleep(Number(ms ?? 0));
  tell({ type: "work", operation: Number(operation), policy, key, entered, left: monotonicMs() });
  return { entered: true };
}

/** Two regions of the cache, of which Redis tells every change of the second. */
type Region = "cached" | "tracked";

/** Reads through a cache, whose value takes a moment to make. */
async function read(request: TestRequest, region: Region): Promise<unknown> {
  const { "x-key": key = "", "x-work": ms } = headersOf(request);
  return request.cache.namespace(region).getOrSet({ key, tags: [`${region} ${key}`], ttl: "10m" }, async () => {
    const version = await askSource(`${region} ${key}`, false);
    await sleep(Number(ms ?? 0));
    return { version };
  });
}

/** Makes a new version, and ends what is kept of the old one: a change that is confirmed when this resolves. */
async function change(request: TestRequest, what: string, end: (key: string) => Promise<unknown>): Promise<object> {
  const { "x-key": key = "" } = headersOf(request);
  const version = await askSource(`${what} ${key}`, true);
  await end(key);
  return { version };
}

/** Increments a counter for each name while the locks are held. */
async function increment(request: TestRequest, gate: AnyGate): Promise<void> {
  const { "x-key": key = "", "x-work": ms } = headersOf(request);
  const names = [...new Set(key.split(" "))];
  const held = await gate.locks.using(names, { lease: "1s", wait: "2s" }, async (_signal, fence) => {
    const entered = monotonicMs();
    const found: [name: string, value: number][] = [];
    for (const name of names)
      found.push([name, await askFenced({ key: `lock ${name}`, fence, action: "read", value: 0 })]);
    await sleep(Number(ms ?? 0));
    for (const [name, value] of found)
      if (value !== -1) await askFenced({ key: `lock ${name}`, fence, action: "write", value: value + 1 });
    return { fence, entered, left: monotonicMs() };
  });
  for (const name of names) tell({ type: "hold", name, ...held });
}

/** Writes again and again while this process leads, and once more when it is told that it does not. */
export function lead(gate: AnyGate): void {
  gate.leader("writer", { lease: "1s" }).run(async (signal, fence) => {
    for (let isLast = false; !isLast;) {
      isLast = signal.aborted;
      await askFenced({ key: "leader writer", fence, action: "write", value: 0 });
      await sleep(50);
    }
  });
}

export function routes(replicas: number): TestApp["routes"] {
  return {
    "POST /login": async (request, gate) => {
      const { "x-account": subject = "", "x-password": password } = headersOf(request);
      if (password !== "right") refuse(401);
      const { response } = await gate.tokens.issue({ subject });
      await request.loginAttempt?.succeed();
      return response;
    },
    "POST /refresh": async (request, gate) => {
      try {
        return (await gate.tokens.refresh(headersOf(request)["x-refresh"])).response;
      } catch (error) {
        const answer = gate.tokens.answer(error);
        if (answer === undefined) throw error;
        return refuse(answer.status);
      }
    },
    "GET /me": ({ auth }) => ({ subject: auth?.subject }),
    "GET /mine": ({ auth, cache }) => cache.forUser().getOrSet({ key: "mine" }, () => ({ subject: auth?.subject })),
    "GET /mine/page": ({ auth }) => ({ subject: auth?.subject }),
    "POST /logout": async ({ auth }, gate) => {
      await gate.sessions.revoke(auth);
    },
    "POST /everywhere": async ({ auth }, gate) => {
      await gate.sessions.revokeAll(auth ?? refuse(401));
    },
    "POST /revoke": ({ auth }, gate) => gate.revocations.revoke(auth, replicas > 0 ? { replicas } : {}),

    ...Object.fromEntries(Object.keys(limits).map((name) => [`GET /limited/${name}`, () => ({ admitted: true })])),
    "POST /locked": increment,
    "GET /ruled": () => ({ admitted: true }),
    "GET /slots": (request) => work(request, "slots"),
    "GET /settled": (request) => work(request, "settled"),
    "GET /failures": (request) => work(request, "failures"),
    "POST /orders": async (request) => {
      await work(request, "orders");
      return { order: Number(headersOf(request)["x-operation"]) };
    },
    "GET /slow": async (request) => {
      await sleep(Number(headersOf(request)["x-work"] ?? 0));
      return {};
    },
    "GET /peek": async (request, gate) => {
      const { "x-policy": policy = "", "x-key": key = "" } = headersOf(request);
      return { consumed: (await gate.quotas.peek(policy, key)).consumed };
    },
    "POST /block": (request, gate) => gate.quotas.block("ruled", headersOf(request)["x-key"] ?? "", { for: ruled.for }),
    "POST /override": (request, gate) =>
      gate.quotas.setOverride("ruled", headersOf(request)["x-key"] ?? "", { limit: ruled.override, for: ruled.for }),

    "POST /issue": async (request, gate) => {
      const value = headersOf(request)["x-value"] ?? "";
      return gate.oneTime.issue("chaos", value, { ttl: "10m", subject: value });
    },
    "POST /consume": async (request, gate) => {
      const value = await gate.oneTime.consume("chaos", headersOf(request)["x-token"]);
      return { found: value?.data ?? null };
    },

    "POST /publish": async (request, gate) => {
      const { "x-topic": topic = "", "x-publisher": publisher = "", "x-number": number } = headersOf(request);
      return { id: await postsOf(gate).publish({ publisher, number: Number(number), topic }, { topic }) };
    },

    "GET /cached": (request) => read(request, "cached"),
    "GET /tracked": (request) => read(request, "tracked"),
    ...Object.fromEntries(
      (["cached", "tracked"] as const).flatMap((region): [string, TestApp["routes"][string]][] => [
        [
          `POST /${region}/delete`,
          (request, gate) => change(request, region, (key) => gate.cache.namespace(region).delete(key)),
        ],
        [
          `POST /${region}/tag`,
          (request, gate) => change(request, region, (key) => gate.cache.deleteByTag(`${region} ${key}`)),
        ],
      ]),
    ),
    "POST /written": async (request, gate) => {
      const { "x-key": key = "", "x-version": version } = headersOf(request);
      await gate.cache.namespace("written").set(key, { version: Number(version) }, { ttl: "10m" });
    },
    "GET /written": async (request, gate) =>
      (await gate.cache.namespace("written").get(headersOf(request)["x-key"] ?? "")) ?? { version: null },

    "GET /page": async (request) => {
      const { "x-key": key = "", "x-work": ms } = headersOf(request);
      const version = await askSource(`page ${key}`, false);
      await sleep(Number(ms ?? 0));
      return { version };
    },
    // The cache in front ends what it has of this page.
    "POST /page": (request) => change(request, "page", () => Promise.resolve()),
    "POST /purge": (request, gate) => change(request, "page", (key) => gate.responses.purge(`page ${key}`)),
  };
}
