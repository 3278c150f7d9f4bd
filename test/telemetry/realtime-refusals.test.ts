import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { nowSeconds, signToken } from "@portcullis/testkit";
import { expect } from "chai";
import type { StartApp } from "../support/every-gate.js";
import { describeOnEveryFramework } from "../support/every-gate.js";
import { allAdapters } from "../support/app.js";
import type { AnyGate } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { countedRequests as counts } from "../support/request-counts.js";
import { testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import type { StreamOptions } from "../realtime/support/event-client.js";
import { startEvents } from "../realtime/support/events-app.js";
import { startSockets, user } from "../realtime/support/sockets.js";

interface Heard {
  readonly gate: string;
  readonly code: string;
  readonly cause: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** The refusals of a gate from now on. */
function listen(gate: AnyGate): Heard[] {
  const heard: Heard[] = [];
  const hear = (message: unknown): void => {
    if ((message as Heard).gate === gate.name) heard.push(message as Heard);
  };
  subscribe("portcullis:denied", hear);
  cleanUp(() => unsubscribe("portcullis:denied", hear));
  return heard;
}

/** What the counters say more than before. */
function added(before: Record<string, number>, gate: AnyGate): Record<string, number> {
  const found = Object.entries(counts(gate)).map(([name, value]) => [name, value - (before[name] ?? 0)] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== 0));
}

describeOnEveryFramework("a stream of events that is refused", (start: StartApp) => {
  it("is counted once, with a precise cause and without its texts", async () => {
    const { gate, ask, open } = await startEvents(start, { gate: { connections: { maxPerUser: 1 } } });
    const heard = listen(gate);
    const token = await signToken();
    await open({ token });
    const late = await signToken({ exp: nowSeconds() - 100 });
    const refusals: readonly [StreamOptions, number, string, string][] = [
      [{}, 401, "credentials_required", "no credentials"],
      [{ token: "seeded-nonsense" }, 401, "token_invalid", "the credential is not a JWT"],
      [{ token: late }, 401, "token_invalid", "ERR_JWT_EXPIRED"],
      [
        { token, headers: { "last-event-id": `seeded-${"9".repeat(500)}` } },
        400,
        "event_id_invalid",
        "the Last-Event-ID is not an id of a message",
      ],
      [{ token, method: "POST" }, 405, "method_not_allowed", "the method of the request is neither GET nor HEAD"],
      [
        { token, headers: { accept: "text/html" } },
        406,
        "not_acceptable",
        "the client does not accept text/event-stream",
      ],
      [{ token }, 429, "connection_limit", "the user has connections.maxPerUser open connections"],
    ];
    for (const [options, status, code, cause] of refusals) {
      const before = counts(gate);
      const client = await ask(options);
      await until(() => client.ended !== "no");
      expect(client.status).to.equal(status);
      expect(added(before, gate)).to.deep.equal({ "requests denied": 1, [`denied ${code}`]: 1 });
      expect(heard.splice(0).map((one) => [one.code, one.cause])).to.deep.equal([[code, cause]]);
    }
  });
});

for (const [index, adapter] of allAdapters.entries())
  describe(`a socket of Socket.IO that is refused on ${adapter.name}`, () => {
    const redisOf = (): string => (index % 2 === 0 ? "memory" : testRedisUrl());

    it("is counted once as refused, with its cause, whatever refuses it", async () => {
      const app = await startSockets({
        adapter,
        gate: { redis: redisOf(), connections: { maxPerUser: 1 } },
        secure: { handshakes: false },
      });
      const { gate } = app;
      const heard = listen(gate);
      const valid = await user();
      await app.join(valid);
      expect(counts(gate)).to.deep.equal({ "requests allowed": 1, allowed: 1 });
      const refusals: readonly [object, string, string][] = [
        [{}, "credentials_required", "no credentials"],
        [{ token: "seeded-nonsense" }, "token_invalid", "the credential is not a JWT"],
        [{ token: { a: 1 } }, "token_invalid", "the credential is not a JWT"],
        [valid, "connection_limit", "the user has connections.maxPerUser open connections"],
      ];
      for (const transports of [["websocket"], ["polling"]])
        for (const [auth, code, cause] of refusals) {
          const before = counts(gate);
          expect((await app.refusal(auth, { transports })).code).to.equal(code);
          expect(added(before, gate)).to.deep.equal({ "requests denied": 1, [`denied ${code}`]: 1 });
          expect(heard.splice(0).map((one) => [one.code, one.cause])).to.deep.equal([[code, cause]]);
        }
      expect(counts(gate)).to.include({ "requests allowed": 1, allowed: 1 });
    });

    it("is counted as refused while the server drains", async () => {
      const app = await startSockets({ adapter, gate: { redis: redisOf() } });
      const heard = listen(app.gate);
      await app.secured.drain();
      const client = app.open(await user(), { transports: ["polling"] });
      await new Promise((resolve) => client.once("connect_error", resolve));
      expect(counts(app.gate)).to.deep.equal({ "requests denied": 1, "denied connection_capacity": 1 });
      expect(heard.map(({ cause }) => cause)).to.deep.equal(["the Socket.IO server is draining"]);
    });
  });
