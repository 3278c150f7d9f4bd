import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { signToken, startRedis, testAuth } from "@portcullis/testkit";
import { adapters } from "../support/app.js";
import type { AnyMiddleware } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { openGate } from "../support/fake-gate.js";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

const requestId = new AsyncLocalStorage<string>();

/** Opens the context of a request by its header, on Express and on Koa. */
const openContext: AnyMiddleware = (...args: unknown[]) => {
  const next = args.at(-1) as () => unknown;
  const { headers } = args[0] as { headers: Record<string, string> };
  return requestId.run(headers["x-request-id"] ?? "", next) as undefined;
};

for (const adapter of adapters)
  describe(`the asynchronous context of a request on ${adapter.name}`, () => {
    it("is that of the log lines and events about it, although many requests share a round trip", async () => {
      const [logged, heard, shared]: [string[], string[], unknown[]] = [[], [], []];
      const note = (list: string[], code: string): void => void list.push(`${requestId.getStore() ?? "none"} ${code}`);
      const listen = (message: unknown): void => note(heard, (message as { code: string }).code);
      const listenShared = (message: unknown): void =>
        void shared.push([requestId.getStore(), (message as { questions: number }).questions > 1]);
      subscribe("portcullis:verdict", listen);
      subscribe("portcullis:store", listenShared);
      cleanUp(() => {
        unsubscribe("portcullis:verdict", listen);
        unsubscribe("portcullis:store", listenShared);
      });
      const app = await adapter.start({
        options: {
          redis: testRedisUrl(),
          prefix: freshPrefix(),
          auth: testAuth,
          deadline: 2000,
          logger: {
            debug: (fields) => "cause" in fields && note(logged, (fields as unknown as { code: string }).code),
            warn: () => undefined,
          },
          limits: [{ name: "user", per: "user", limit: 1, window: "1m" }],
        },
        use: (gate) => [openContext, gate.guard(), gate.requireScopes("read")],
        routes: { "GET /me": () => ({}) },
      });
      const ask = async (id: string, token: string): Promise<void> => {
        await send(`${app.url}/me`, { token, headers: { "x-request-id": id } });
      };
      const [good, spent, revoked] = [
        await signToken({ sub: "good" }),
        await signToken({ sub: "spent" }),
        await signToken({ sub: "revoked" }),
      ];
      const verified = await app.gate.verify(revoked);
      if (verified.allowed) await app.gate.revocations.revoke(verified.auth);
      await ask("first", spent);
      [logged, heard, shared].forEach((list) => list.splice(0));
      const expected: string[] = [];
      const asked: Promise<void>[] = [];
      for (let index = 0; index < 30; index += 1) {
        const user = await signToken({ sub: `user-${index}`, scope: "read" });
        const kinds: readonly (readonly [string, string])[] = [
          [good, index === 0 ? "scope_insufficient" : "quota_exceeded"],
          [spent, "quota_exceeded"],
          [revoked, "token_invalid"],
          [`${user}x`, "token_invalid"],
          [user, "allowed"],
        ];
        // The first request of the good user must be the first that is counted.
        if (index === 0) await ask("0-0", good);
        for (const [kind, [token, code]] of kinds.entries()) {
          expected.push(`${index}-${kind} ${code}`);
          if (index !== 0 || kind !== 0) asked.push(ask(`${index}-${kind}`, token));
        }
      }
      await Promise.all(asked);
      expect(logged).to.have.members(expected.filter((line) => !line.endsWith("allowed")));
      // Two middleware decide about requests that pass the first.
      for (const line of expected) expect(heard).to.include(line);
      expect(heard.filter((line) => line.startsWith("none"))).to.deep.equal([]);
      expect(shared.map((one) => (one as unknown[])[0])).to.satisfy((ids: unknown[]) =>
        ids.every((id) => id === undefined),
      );
      expect(
        shared.some((one) => (one as unknown[])[1]),
        "requests shared a round trip",
      ).to.equal(true);
    });
  });

describe("the asynchronous context of a caller of the cache", () => {
  const callers = ["alice", "bob", "carol"];
  const caller = (): string => requestId.getStore() ?? "none";

  /** Who is told of the events of a channel. */
  function hear(channel: string): string[] {
    const heard: string[] = [];
    const listen = (): void => void heard.push(caller());
    subscribe(channel, listen);
    cleanUp(() => unsubscribe(channel, listen));
    return heard;
  }

  async function openCache(redis: string) {
    const decoders: string[] = [];
    const codec = {
      encode: (value: unknown) => value as string,
      decode: (text: string) => (decoders.push(caller()), text),
    };
    const cache = { local: false, codec } as const;
    const gate = openGate({ redis, prefix: freshPrefix(), auth: testAuth, deadline: 2000, cache });
    for (const name of callers) await gate.cache.set(name, `of ${name}`);
    decoders.splice(0);
    const readAll = (): Promise<unknown[]> =>
      Promise.all(callers.map((name) => requestId.run(name, () => gate.cache.get(name))));
    return { decoders, readAll };
  }

  for (const [store, url] of [
    ["Redis", testRedisUrl],
    ["the process", () => "memory"],
  ] as const)
    it(`is that of the codec and of the event, although many reads share a round trip: ${store}`, async () => {
      const { decoders, readAll } = await openCache(url());
      const heard = hear("portcullis:cache");
      expect(await readAll()).to.deep.equal(callers.map((name) => `of ${name}`));
      expect(new Set(decoders)).to.deep.equal(new Set(callers));
      expect(heard).to.have.members(callers);
    });

  it("is that of the event about a fault, although many reads share it", async () => {
    const server = await startRedis();
    cleanUp(() => server.stop());
    const { readAll } = await openCache(server.url);
    const heard = hear("portcullis:degraded");
    await server.kill();
    expect(await readAll()).to.deep.equal([undefined, undefined, undefined]);
    expect(heard).to.have.members(callers);
  });
});
