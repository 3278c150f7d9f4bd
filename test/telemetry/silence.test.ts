import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { nowSeconds, signToken, startRedis, testAuth, testSecret } from "@portcullis/testkit";
import { adapters } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { hostileIdentifiers } from "../support/hostile.js";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

const channels = ["portcullis:denied", "portcullis:degraded", "portcullis:breaker"];

for (const adapter of adapters) {
  describe(`the output of the gate on ${adapter.name}, in logs, events and answers`, function () {
    this.timeout(30_000);

    it("holds no token, secret, key or identifier, whatever goes wrong", async () => {
      const said: string[] = [];
      const note = (...message: unknown[]) => void said.push(JSON.stringify(message));
      const listen = (message: unknown) => note(message);
      for (const channel of channels) subscribe(channel, listen);
      cleanUp(() => channels.forEach((channel) => unsubscribe(channel, listen)));
      const password = "seeded-redis-password";
      const server = await startRedis({ config: { requirepass: password } });
      cleanUp(() => server.stop());
      const app = await adapter.start({
        options: {
          // The log names the host of Redis; the address of the client must not be in it.
          redis: `redis://:${password}@localhost:${server.port}`,
          auth: testAuth,
          keySecret: "seeded-key-secret",
          logger: { debug: note, warn: note },
          limits: [{ name: "user", per: "user", limit: 2, window: "1m" }],
        },
        routes: {
          "GET /me": ({ cache }) => cache.getOrSet({ key: "seeded-cache-key" }, () => "seeded-cache-value"),
          "POST /logout": ({ auth }, gate) => gate.revocations.revoke(auth),
        },
      });
      const seeds = [testSecret, password, "seeded-key-secret", "seeded-cache-key", "seeded-cache-value"];
      const visit = async (token: string, method = "GET"): Promise<void> => {
        seeds.push(token.split(".")[2] ?? token);
        const { text, headers } = await send(`${app.url}${method === "GET" ? "/me" : "/logout"}`, { method, token });
        if (text !== '"seeded-cache-value"' && text !== "seeded-cache-value") said.push(text);
        said.push(JSON.stringify(headers));
      };
      for (const id of hostileIdentifiers.slice(0, 40))
        await visit(await signToken({ sub: `seeded-subject ${id}`, jti: `seeded-jti ${id}` }));
      const token = await signToken({ sub: "seeded-subject", jti: "seeded-jti" });
      for (let i = 0; i < 4; i += 1) await visit(token);
      await visit(`${token}x`);
      await visit(await signToken({ exp: nowSeconds() - 9, sub: "seeded-subject" }));
      await visit(token, "POST");
      await visit(token);
      await server.kill();
      for (let i = 0; i < 8; i += 1) await visit(token);
      await visit(token, "POST");
      for (let i = 0; i < 100 && !said.some((line) => line.includes("connection to Redis failed")); i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      await app.close();
      const all = said.join("\n");
      for (const word of [
        "token_invalid",
        "quota_exceeded",
        "store_unavailable",
        "open",
        "connection to Redis failed",
      ]) {
        expect(all).to.include(word);
      }
      for (const seed of [...seeds, "seeded-subject", "seeded-jti", "127.0.0.1"]) expect(all).to.not.include(seed);
      // One line for each message: nothing a client sends can begin a line of its own, or colour it.
      for (const line of said) expect(line).to.match(/^[\x20-\x7e]*$/);
    });

    it("keeps two users apart in a thousand requests that come at once", async () => {
      const app = await adapter.start({
        options: { redis: testRedisUrl(), prefix: freshPrefix(), auth: testAuth, deadline: 2000 },
        routes: {
          "GET /me": async ({ auth, cache }) => {
            const mine = cache.forUser();
            const made = await mine.getOrSet({ key: "profile" }, async () => {
              await new Promise((resolve) => setTimeout(resolve, 1));
              return { of: auth?.subject };
            });
            await mine.set("last", auth?.subject);
            return [auth?.subject, made.of, await mine.get("last"), await cache.get("profile")].map(
              (value) => value ?? null,
            );
          },
        },
      });
      const tokens = await Promise.all(["alice", "bob"].map((sub) => signToken({ sub })));
      for (let round = 0; round < 10; round += 1) {
        await Promise.all(
          Array.from({ length: 100 }, async (_, index) => {
            const who = index % 2 === 0 ? "alice" : "bob";
            const headers = {
              host: index % 3 === 0 ? "evil.test" : "api.test",
              "x-forwarded-host": "evil.test",
              cookie: `user=${index}`,
            };
            const answer = await send(`${app.url}/me`, { token: tokens[index % 2]!, headers });
            expect(answer.json).to.deep.equal([who, who, who, null]);
          }),
        );
      }
    });
  });
}
