import { appendFileSync } from "node:fs";
import { expect } from "chai";
import { Redis } from "ioredis";
import { nowSeconds, signToken, startRedis, testAuth } from "@portcullis/testkit";
import { adapters } from "../support/app.js";
import type { AnyGate, AnyMiddleware, AnyOptions, RunningApp } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import type { SendOptions } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

/** A set-up that is broken in one way, as an operator may leave it. */
interface Setup {
  readonly title: string;
  readonly options: () => AnyOptions | Promise<AnyOptions>;
  readonly use?: (gate: AnyGate) => AnyMiddleware[];
  /** The request of another client, before. */
  readonly prior?: SendOptions;
  /** The request of a client who has done nothing wrong. */
  readonly request?: () => SendOptions | Promise<SendOptions>;
  readonly status: number;
  /** Resolves when the gate has noticed the problem, where that takes time. */
  readonly noticed?: (app: RunningApp, log: readonly string[]) => boolean | Promise<boolean>;
  /** The cause by its name in each output that shows it. */
  readonly log?: RegExp;
  readonly readyz?: RegExp;
  readonly examine?: RegExp;
  /** The line of `gate.explain()` about the token of the request. */
  readonly explain?: RegExp;
}

/** What an operator sees. */
interface Seen {
  readonly log: string;
  readonly readyz: string;
  readonly examine: string;
  readonly explain: string | undefined;
}

const onRedis = (): AnyOptions => ({
  ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000, keySecret: "s".repeat(32), service: "orders" },
});
const inProcess = { redis: "memory" } as const;
const perAddress = { name: "per-address", per: "ip", limit: 1, window: "1m" } as const;
const tenMinutes = 600;

async function withToken(
  claims: Record<string, unknown> = {},
  header: Record<string, unknown> = {},
): Promise<SendOptions> {
  return { token: await signToken(claims, header) };
}

const setups: readonly Setup[] = [
  {
    title: "the audience of another API",
    options: () => ({ ...inProcess, auth: { ...testAuth, audience: "orders-api" } }),
    request: withToken,
    status: 401,
    explain: /^401 token_invalid: .*claim aud: expected "orders-api", found "test-api"/,
    log: /token_invalid.*claim.*aud.*expected.*orders-api.*found.*test-api/,
  },
  {
    title: "an issuer with a slash too many",
    options: () => ({ ...inProcess, auth: { ...testAuth, issuer: `${testAuth.issuer}/` } }),
    request: withToken,
    status: 401,
    explain: /^401 token_invalid: .*claim iss: expected ".*issuer\.test\/", found ".*issuer\.test"/,
    log: /token_invalid.*claim.*iss.*expected.*issuer\.test\/\\?".*found.*issuer\.test\\?"/,
  },
  {
    title: "another algorithm than that of the issuer",
    options: () => ({ ...inProcess, auth: { ...testAuth, algorithms: ["HS512"] } }),
    request: withToken,
    status: 401,
    explain: /^401 token_invalid: .*claim alg: expected "HS512", found "HS256"/,
    log: /token_invalid.*ERR_JOSE_ALG_NOT_ALLOWED.*alg.*expected.*HS512.*found.*HS256/,
  },
  {
    title: "a clock of the issuer that is ten minutes ahead",
    options: () => ({ ...inProcess, auth: testAuth }),
    request: () => withToken({ iat: nowSeconds() + tenMinutes, exp: nowSeconds() + 2 * tenMinutes }),
    status: 401,
    explain: /^401 token_invalid: iat is in the future; claim iat: .*clockTolerance, found (?:599|600) s in the future/,
    log: /token_invalid.*iat is in the future.*found.*(?:599|600) s in the future/,
  },
  {
    title: "a clock of this process that is ten minutes behind that of Redis",
    options: () => {
      const { now } = Date;
      Date.now = () => now() - tenMinutes * 1000;
      cleanUp(() => (Date.now = now));
      return { ...onRedis(), auth: testAuth };
    },
    request: async () => withToken({ iat: nowSeconds() + tenMinutes, exp: nowSeconds() + 2 * tenMinutes }),
    status: 503,
    explain: /^503 store_unavailable: the clocks of this process and the store differ/,
    log: /store_unavailable.*(?:clocks of this process and the store differ|skewed)/,
    readyz: /its clock and ours disagree/,
    examine: /clock_skew.*60\d s apart/,
  },
  {
    title: "a wrong password of Redis",
    options: async () => {
      const server = await startRedis({ config: { requirepass: "right" } });
      cleanUp(() => server.stop());
      return { redis: server.url.replace("//", "//:wrong@"), auth: testAuth, service: "orders" };
    },
    request: withToken,
    status: 503,
    noticed: (_app, log) => log.some((line) => line.includes("WRONGPASS")),
    explain: /^503 store_unavailable: .*unreachable/,
    log: /the connection to Redis failed: WRONGPASS/,
    readyz: /"status":"down".*not connected/,
    examine: /store_unreachable.*WRONGPASS, the user or the password is wrong/,
  },
  {
    title: "a node of a Cluster behind a client of a single server",
    options: async () => {
      const server = await startRedis({ config: { "cluster-enabled": "yes" } });
      const client = new Redis(server.url, { maxRetriesPerRequest: 0 });
      client.on("error", () => undefined);
      cleanUp(async () => {
        client.disconnect();
        await server.stop();
      });
      return { redis: client, auth: testAuth, deadline: 1000, service: "orders" };
    },
    request: withToken,
    status: 503,
    noticed: async (app) => (await app.gate.examine()).some(({ code }) => code === "cluster_mode"),
    log: /Redis refuses calls: (CLUSTERDOWN|MOVED|CROSSSLOT).*"code":"store_unavailable".*"reason":"\1"/s,
    readyz: /"store":\{"kind":"redis","status":"down"/,
    examine: /cluster_mode.*pass a Cluster client/,
  },
  {
    title: "a Redis that evicts records of revoked tokens",
    options: async () => {
      const server = await startRedis({ config: { maxmemory: "100mb", "maxmemory-policy": "allkeys-lru" } });
      cleanUp(() => server.stop());
      return { redis: server.url, auth: testAuth, deadline: 1000, service: "orders" };
    },
    request: withToken,
    status: 200,
    noticed: (_app, log) => log.some((line) => line.includes("eviction_policy")),
    log: /maxmemory-policy is allkeys-lru, which may drop revocations.*#eviction_policy/,
    examine: /eviction_policy.*allkeys-lru/,
  },
  {
    title: "an address of the keys at which nothing listens",
    options: () => ({
      ...inProcess,
      auth: { jwksUri: "http://127.0.0.1:9/jwks", issuer: testAuth.issuer, audience: false },
    }),
    request: () => withToken({}, { kid: "k" }).then(() => ({ token: rs256 })),
    status: 503,
    noticed: (_app, log) => log.some((line) => line.includes("fetching the keys")),
    explain: /^503 keys_unavailable: no usable keys have been loaded/,
    log: /fetching the keys of the token issuer failed \(127\.0\.0\.1:9: .*ECONNREFUSED/,
    readyz: /"keys":\{"status":"down"\}/,
    examine: /keys_missing/,
  },
  {
    title: "a proxy that the application does not trust",
    options: () => ({ ...inProcess, limits: [{ ...perAddress, allow: ["127.0.0.0/8"] }] }),
    // The second client shares the bucket of the first one.
    prior: { from: "198.51.100.9" },
    request: () => ({ from: "203.0.113.7" }),
    status: 429,
    log: /proxy_untrusted/,
    examine: /proxy_untrusted/,
  },
  {
    title: "a check of scopes in front of the guard",
    options: () => ({ ...inProcess, auth: testAuth }),
    use: (gate) => [gate.requireScopes("orders:read"), gate.guard()],
    request: () => withToken({ scope: "orders:read" }),
    status: 401,
    log: /credentials_required.*expected.*a user from guard\(\) or authenticate\(\) in front of this middleware/,
  },
  {
    title: "a page whose origin is not among the origins of the cookie",
    options: () => ({
      ...inProcess,
      auth: { ...testAuth, tokenFrom: { cookie: "token", origins: ["https://app.test"] } },
    }),
    request: async () => ({
      method: "POST",
      headers: { cookie: `token=${await signToken()}`, origin: "https://www.app.test" },
    }),
    status: 403,
    log: /origin_refused.*expected.*https:\/\/app\.test.*found.*https:\/\/www\.app\.test/,
  },
];

/** An unsigned token that names RS256, for keys that cannot be fetched. */
const rs256 = [{ alg: "RS256", kid: "k" }, { iss: testAuth.issuer, exp: nowSeconds() + 300 }, "signature"]
  .map((part) => Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url"))
  .join(".");

for (const [index, setup] of setups.entries())
  describe(`a set-up with ${setup.title}`, function () {
    this.timeout(20_000);

    it("is named by the log, /readyz, examine() or explain() alone", async () => {
      const seen = await look(setup, index);
      for (const output of ["log", "readyz", "examine", "explain"] as const) {
        const cause = setup[output];
        if (cause !== undefined) expect(seen[output]).to.match(cause);
      }
      record(setup, seen);
    });
  });

/** Starts a set-up, sends its request, and collects what an operator can look at. */
async function look({ options, use, prior, request, status, noticed }: Setup, index: number): Promise<Seen> {
  const lines: string[] = [];
  const note = (level: string) => (fields: object, message: string) =>
    void lines.push(`${level} ${JSON.stringify(fields)} ${message}`);
  const adapter = adapters[index % adapters.length];
  if (adapter === undefined) throw new Error("there is no adapter");
  const given = await options();
  const app = await adapter.start({
    options: { ...given, logger: { debug: note("debug"), warn: note("warn") } },
    use: (gate) => [gate.routes.health({ details: true }), ...(use?.(gate) ?? [gate.guard()])],
    routes: { "GET /orders": () => [], "POST /orders": () => [] },
  });
  const sent = (await request?.()) ?? {};
  const ask = async (): Promise<number> => (await send(`${app.url}/orders`, sent)).status;
  if (prior !== undefined) expect((await send(`${app.url}/orders`, prior)).status).to.equal(200);
  expect(await ask()).to.equal(status);
  if (noticed !== undefined) await until(async () => (await ask()) === status && (await noticed(app, lines)));
  return {
    log: lines.filter((line) => !line.includes("store_in_process")).join("\n"),
    readyz: await send(`${app.url}/readyz`).then(({ status: code, text }) => `${code} ${text}`),
    examine: (await app.gate.examine()).map((finding) => Object.values(finding).join(" ")).join("\n"),
    explain: sent.token === undefined ? undefined : (await app.gate.explain(sent.token)).text,
  };
}

/** Writes the outputs down, for a person who wants to read them: DIAGNOSIS_OUTPUT names the file. */
function record({ title }: Setup, { log, readyz, examine, explain }: Seen): void {
  const file = process.env.DIAGNOSIS_OUTPUT;
  if (file === undefined) return;
  const uniqueLines = [...new Set(log.split("\n"))].slice(0, 6).join("\n    ");
  const text = [
    `## ${title}`,
    `  log:\n    ${uniqueLines}`,
    `  /readyz: ${readyz}`,
    `  examine():\n    ${examine.replaceAll("\n", "\n    ")}`,
    `  explain(): ${explain ?? "(no token)"}`,
  ];
  appendFileSync(file, `${text.join("\n")}\n\n`);
}
