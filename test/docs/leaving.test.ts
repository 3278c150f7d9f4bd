import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { startRedis, testSecret } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import type { Redis } from "ioredis";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { operate } from "../support/redis.js";
import { until } from "../support/until.js";
import { sectionOf, snippetsOf } from "./documents.js";
import type { Programs } from "./programs.js";
import { openPrograms, withEnvironment } from "./programs.js";

/** The program in docs/leaving.md. */
interface Guard {
  readonly redis: Redis;
  readonly guard: RequestHandler;
}

describe("the guard by hand in docs/leaving.md", () => {
  let redis: RedisServer;
  let programs: Programs;
  let byHand: Guard;
  let url: string;
  let gate: ExpressGate;

  before(async () => {
    redis = await startRedis();
    programs = await openPrograms("docs/leaving.md", { "guard.ts": "export const guard: RequestHandler" });
    const environment = { REDIS_URL: redis.url, SIGNING_KEY: testSecret };
    byHand = await withEnvironment(environment, () => programs.load<Guard>("guard.ts"));
    await until(() => byHand.redis.status === "ready");
  });
  after(async () => {
    byHand.redis.disconnect();
    await programs.remove();
    await redis.stop();
  });

  beforeEach(async () => {
    gate = portcullis({
      ...{ redis: redis.url, deadline: 1000, logger: silentLogger, service: "leaving" },
      tokens: { signingKey: testSecret, issuer: "https://id.example.com", audience: "shop" },
    });
    const app = express();
    app.use(byHand.guard);
    app.get("/me", (_req, res) => res.json({ subject: String(res.locals.subject) }));
    const server = createServer(app);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/me`;
    cleanUp(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await gate.close();
    });
  });

  async function statusOf(token: string): Promise<number> {
    const { status, headers } = await send(url, { token });
    if (status === 401) expect(headers["www-authenticate"]).to.equal('Bearer error="invalid_token"');
    return status;
  }

  it("accepts the tokens of the gate, and refuses those that it has revoked, in every way", async () => {
    const issue = async (): Promise<string> => (await gate.tokens.issue({ subject: "alice" })).accessToken;
    const [first, second, third] = [await issue(), await issue(), await issue()];
    for (const token of [first, second, third]) expect(await statusOf(token)).to.equal(200);
    const [one, two] = [await gate.verify(first), await gate.verify(second)];
    if (!one.allowed || !two.allowed) throw new Error("the gate refuses its own tokens");
    await gate.revocations.revoke(one.auth);
    await gate.sessions.revoke(two.auth);
    expect(await Promise.all([first, second, third].map(statusOf))).to.deep.equal([401, 401, 200]);
    await gate.sessions.revokeAll("alice");
    expect(await statusOf(third)).to.equal(401);
    expect(await statusOf(await issue()), "a sign-in after it").to.equal(200);
    expect((await send(url)).status).to.equal(401);
    expect(await statusOf("no.token.here")).to.equal(401);
  });

  it("answers 503 to a record that it cannot read, and refuses one of another type", async () => {
    const { accessToken } = await gate.tokens.issue({ subject: "bob" });
    const verified = await gate.verify(accessToken);
    const { jti = "" } = verified.allowed ? verified.auth : {};
    const operator = operate(redis.url);
    await operator.set("auth:cutoff:bob", "nan", "EX", 60);
    expect((await send(url, { token: accessToken })).status).to.equal(503);
    await operator.del("auth:cutoff:bob");
    await operator.rpush(`auth:revoked:${jti}`, "a");
    expect(await statusOf(accessToken)).to.equal(401);
  });

  it("is written for the keys that the page names, and the commands by hand have the same effect on the gate", async () => {
    const { accessToken } = await gate.tokens.issue({ subject: "carol" });
    expect((await gate.verify(accessToken)).allowed).to.equal(true);
    const commands = proseCommands();
    expect(commands).to.deep.equal([
      "SET auth:revoked:<jti> revoked EXAT <exp + 300>",
      "SET auth:cutoff:<subject> <unix seconds> EX <longest life of a token + 300>",
    ]);
    const now = Math.floor(Date.now() / 1000);
    await operate(redis.url).set("auth:cutoff:carol", now, "EX", 60);
    expect((await gate.verify(accessToken)).allowed).to.equal(false);
  });

  it("is not needed to clean up: the command of the page deletes the keys of the gate and leaves those that others read", async () => {
    const { accessToken } = await gate.tokens.issue({ subject: "dave" });
    const verified = await gate.verify(accessToken);
    if (!verified.allowed) throw new Error("the gate refuses its own token");
    await gate.sessions.revokeAll("dave");
    const [cleanUpCode] = snippetsOf("docs/leaving.md").filter(({ language }) => language === "sh");
    const pattern = /--pattern '([^']+)'/.exec(cleanUpCode?.code ?? "")?.[1] ?? "";
    const operator = operate(redis.url);
    const doomed = await operator.keys(pattern);
    expect(doomed.length).to.be.greaterThan(2);
    await operator.unlink(...doomed);
    expect(await operator.keys("*")).to.satisfy((keys: string[]) => keys.every((key) => key.startsWith("auth:")));
    expect(await statusOf(accessToken)).to.equal(401);
  });
});

/** The commands of the table in "A guard by hand". */
function proseCommands(): string[] {
  const text = sectionOf("docs/leaving.md", "A guard by hand");
  return Array.from(text.matchAll(/\| `(SET [^`]+)` \|$/gm), ([, command = ""]) => command);
}
