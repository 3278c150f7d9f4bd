import { createServer, connect, constants } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/koa";
import type { KoaGate } from "@portcullis/koa";
import { expect } from "chai";
import Koa from "koa";
import type { Context } from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../support/clean-up.js";
import { openLatch } from "../support/latch.js";
import type { Latch } from "../support/latch.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";

const stores = [
  { store: "in process", redis: () => "memory" },
  { store: "on Redis", redis: testRedisUrl },
];

const frameworks = [
  { name: "Koa", Framework: Koa },
  { name: "Koa 2", Framework: Koa2 },
];

interface Running {
  readonly gate: KoaGate;
  readonly latch: Latch;
  /** How many responses are closed. */
  readonly closed: () => number;
  readonly session: () => ClientHttp2Session;
  readonly counts: () => Promise<number[]>;
}

for (const { name, Framework } of frameworks) {
  for (const { store, redis } of stores) {
    describe(`a resource that is held for a request over HTTP/2 on ${name} ${store}`, () => {
      /** A login whose handler waits, behind a limit of each kind. */
      async function start(): Promise<Running> {
        const gate = portcullis({ redis: redis(), prefix: freshPrefix(), logger: silentLogger, deadline: 1000 });
        const latch = openLatch();
        const app = new Framework();
        app.silent = true;
        const terms = { per: "ip", limit: 100, window: "1m", releaseAfter: "1m" } as const;
        app.use(gate.limit({ ...terms, name: "slots", algorithm: "concurrency" }));
        app.use(gate.limit({ ...terms, name: "failures", countOnly: "failures" }));
        app.use(gate.limit({ ...terms, name: "cost", settle: (_ctx, _facts, status) => (status === 0 ? 5 : 3) }));
        app.use(gate.throttleLogin({ account: (ctx: Context) => ctx.query.account, parallel: 2 }));
        let closed = 0;
        app.use(async (ctx) => {
          ctx.res.once("close", () => (closed += 1));
          await latch.wait();
          ctx.body = "done";
        });
        const server = createServer((req, res) => void app.callback()(req, res));
        server.on("sessionError", () => undefined);
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        const sessions: ClientHttp2Session[] = [];
        cleanUpInTest(async () => {
          for (const session of sessions) session.destroy();
          await new Promise((resolve) => server.close(resolve));
          await gate.close();
        });
        return {
          gate,
          latch,
          closed: () => closed,
          session() {
            const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
            sessions.push(session);
            return session.on("error", () => undefined);
          },
          counts: async () => {
            const policies = ["slots", "failures", "cost"].map(async (policy) => gate.quotas.peek(policy, "127.0.0.1"));
            return (await Promise.all(policies)).map(({ consumed }) => consumed);
          },
        };
      }

      const ask = (session: ClientHttp2Session, account: string): ClientHttp2Stream =>
        session
          .request({ ":path": `/?account=${account}` })
          .on("error", () => undefined)
          .resume();

      for (const [what, leave] of [
        ["streams are reset", (streams) => streams.map((stream) => stream.close(constants.NGHTTP2_CANCEL))],
        ["the session is destroyed", (_streams, session) => session.destroy()],
      ] as readonly (readonly [
        string,
        (streams: readonly ClientHttp2Stream[], session: ClientHttp2Session) => unknown,
      ])[]) {
        it(`is given back when ${what} and the handlers have ended`, async () => {
          const { latch, closed, session, counts } = await start();
          const connection = session();
          const streams = ["anna", "bert"].map((account) => ask(connection, account));
          await latch.waiting(2);
          expect(await counts()).to.deep.equal([2, 2, 2]);
          leave(streams, connection);
          await until(() => closed() === 2);
          expect(await counts(), "the handlers work on").to.deep.equal([2, 2, 2]);
          latch.open();
          await until(async () => (await counts()).join() === "0,2,10");
          const next = ask(session(), "carl");
          const status = await new Promise((resolve) =>
            next.once("response", (headers) => resolve(headers[":status"])),
          );
          expect(status).to.equal(200);
          await until(async () => (await counts()).join() === "0,2,13");
        });
      }
    });
  }
}
