import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Verification } from "@portcullis/core";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

for (const [name, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`verify() outside middleware, ${name}`, () => {
    let gate: ExpressGate;
    beforeEach(() => {
      gate = portcullis({
        redis: redis(),
        prefix: freshPrefix(),
        deadline: 1000,
        auth: { ...testAuth, tokenFrom: ["header", { cookie: "session" }] },
      });
    });
    afterEach(() => gate.close());

    it("decides about a token as the guard does", async () => {
      const token = await signToken({ sub: "alice" });
      const good = await gate.verify(token);
      expect(good.allowed && good.auth.subject).to.equal("alice");
      for (const bad of ["", "nonsense", `${token}x`, await signToken({ exp: 1 }), `${token} ${token}`]) {
        const verdict = await gate.verify(bad);
        expect(verdict.allowed).to.equal(false);
        if (!verdict.allowed) expect(verdict.status).to.equal(401);
      }
      if (good.allowed) await gate.revocations.revoke(good.auth);
      expect((await gate.verify(token)).allowed).to.equal(false);
    });

    it("decides about the request of a socket, from whatever source the gate reads", async () => {
      const verdicts: Verification[] = [];
      const answer = async (message: IncomingMessage) => void verdicts.push(await gate.verify(message));
      const server = createServer((req, res) => void answer(req).finally(() => res.end()));
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const token = await signToken();
      await send(url, { token });
      await send(url, { headers: { cookie: `session=${token}` } });
      await send(url);
      await send(url, { token, headers: { cookie: `session=${token}` } });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      expect(verdicts.map((verdict) => (verdict.allowed ? verdict.auth.subject : verdict.status))).to.deep.equal([
        "alice",
        "alice",
        401,
        400,
      ]);
    });
  });
}

it("verify() says what is missing without auth", async () => {
  const gate = portcullis({ redis: "memory" });
  const error: unknown = await gate.verify("x").catch((reason: unknown) => reason);
  expect(error).to.be.instanceOf(TypeError);
  await gate.close();
});
