import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import type { Channel, Subscription } from "@portcullis/core";
import { expect } from "chai";
import { EventSource } from "eventsource";
import { adapters, allAdapters } from "../../support/app.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { describeOnEveryFramework, describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import type { StartApp } from "../../support/every-gate.js";
import { silentLogger } from "../../support/logger.js";
import { partnerAuth, signPartnerToken, openGate } from "../../support/several-gates.js";
import { until } from "../../support/until.js";
import { openEvents } from "../support/event-client.js";
import { ownTopic, startEvents } from "../support/events-app.js";

let alice = "";
let bob = "";
// With an await at the top, Mocha loads this file and its helpers a second time.
before(async () => {
  alice = await signToken({ sub: "alice" });
  bob = await signToken({ sub: "bob" });
});

/** A real EventSource with a token, and all that it has heard. */
function listen(url: string, token: () => string): { source: EventSource; heard: unknown[]; requests: () => number } {
  let requests = 0;
  const source = new EventSource(url, {
    fetch: (input, init) => {
      requests += 1;
      return fetch(input, { ...init, headers: { ...init.headers, authorization: `Bearer ${token()}` } });
    },
  });
  cleanUpInTest(() => source.close());
  const heard: unknown[] = [];
  const hear = ({ type, data }: MessageEvent): void => void heard.push([type, JSON.parse(String(data))]);
  for (const type of ["message", "paid", "end", "gap"]) source.addEventListener(type, hear);
  return { source, heard, requests: () => requests };
}

/** The subscriptions of a channel that have not been stopped. */
function countSubscriptions(channel: Channel<unknown>): { open: number } {
  const count = { open: 0 };
  const subscribe = channel.subscribe.bind(channel);
  Object.assign(channel, {
    subscribe(...given: Parameters<typeof subscribe>) {
      const subscription = subscribe(...given);
      let isOpen = true;
      count.open += 1;
      const stop = (): void => {
        if (isOpen) count.open -= 1;
        isOpen = false;
        subscription.stop();
      };
      return Object.create(subscription, { stop: { value: stop } }) as Subscription;
    },
  });
  return count;
}

withNodeAdapter(describeOnEveryGate)("a stream of events", (start) => {
  it("brings each user the messages of the topics of this user, with id, name and JSON, and no others", async () => {
    const { open, channel } = await startEvents(start);
    const [forAlice, forBob] = [await open({ token: alice }), await open({ token: bob })];
    expect(forAlice.headers).to.include({
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    });
    const id = await channel.publish({ order: 1, text: "a\nb" }, { topic: "user:alice", event: "paid" });
    await channel.publish({ order: 2 }, { topic: "user:bob" });
    await channel.publish({ order: 3 });
    await channel.publish({ order: 4 }, { topic: "user:alice" });
    await Promise.all([forAlice.has(2), forBob.has(1)]);
    expect(forAlice.events[0]).to.deep.equal({ id, event: "paid", data: { order: 1, text: "a\nb" } });
    expect(forAlice.data).to.deep.equal([{ order: 1, text: "a\nb" }, { order: 4 }]);
    expect(forBob.data).to.deep.equal([{ order: 2 }]);
    expect(forBob.events[0]?.event).to.equal("message");
  });

  it("goes on after the Last-Event-ID, in order, with every message of a reliable channel", async () => {
    const { open, channel } = await startEvents(start);
    const first = await open({ token: alice });
    await channel.publish(0, { topic: "user:alice" });
    await first.has(1);
    first.drop();
    for (let number = 1; number <= 20; number += 1)
      await channel.publish(number, { topic: number % 4 === 0 ? "user:bob" : "user:alice" });
    const missed = [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19];
    const second = await open({ token: alice, headers: { "Last-Event-ID": first.lastId } });
    await second.has(missed.length);
    await channel.publish("live", { topic: "user:alice" });
    await second.has(missed.length + 1);
    expect(second.data).to.deep.equal([...missed, "live"]);
    // The field is that of the connection that broke; the query is that of the first one.
    const third = await open(
      { token: alice, headers: { "Last-Event-ID": second.events.at(-3)?.id ?? "" } },
      `?lastEventId=${first.lastId}`,
    );
    await third.has(2);
    expect(third.data).to.deep.equal([19, "live"]);
    const fourth = await open({ token: alice }, `?lastEventId=${second.events.at(-2)?.id}`);
    await fourth.has(1);
    expect(fourth.data).to.deep.equal(["live"]);
  });

  it("loses nothing either for a client that has heard nothing before its connection broke", async () => {
    const { open, channel } = await startEvents(start);
    const first = await open({ token: alice });
    first.drop();
    await channel.publish("meanwhile", { topic: "user:alice" });
    const second = await open({ token: alice, headers: { "Last-Event-ID": first.lastId } });
    await second.has(1);
    expect(second.events.map(({ event, data }) => [event, data])).to.deep.equal([["message", "meanwhile"]]);
  });

  it("begins with a gap after an id that the log does not know", async () => {
    const { open, channel } = await startEvents(start);
    await channel.publish("before", { topic: "user:alice" });
    for (const unknown of ["1-0-0123456789ab", "an-id-of-another-library"]) {
      const client = await open({ token: alice, headers: { "Last-Event-ID": unknown } });
      await client.hears("gap");
      await channel.publish(unknown, { topic: "user:alice" });
      await until(() => client.data.includes(unknown));
      expect(client.events.filter(({ event }) => event === "gap")).to.have.lengthOf(1);
    }
  });

  it("ends when its token is revoked, with the reason, and the streams of other tokens go on", async () => {
    const { open, channel, gate } = await startEvents(start);
    const token = await signToken({ sub: "alice", jti: "lost-phone" });
    const [lost, kept] = [await open({ token }), await open({ token: alice })];
    await gate.revocations.revoke({ jti: "lost-phone", expiresAt: nowSeconds() + 300 });
    await until(() => lost.ended === "whole");
    expect(lost.reason).to.equal("revoked");
    await channel.publish("after", { topic: "user:alice" });
    await kept.has(1);
    expect(lost.data).to.deep.equal([]);
    expect(gate.connections.open).to.equal(1);
  });
});

describeOnEveryFramework("a stream of events", (start) => {
  it("ends when its token is revoked, and EventSource then stops", async () => {
    const { url, gate } = await startEvents(start, { events: { ...ownTopic, retry: 100 } });
    const token = await signToken({ sub: "alice", jti: "stolen" });
    const { source, heard, requests } = listen(url, () => token);
    await until(() => gate.connections.open === 1);
    await gate.revocations.revoke({ jti: "stolen", expiresAt: nowSeconds() + 300 });
    await until(() => source.readyState === EventSource.CLOSED);
    expect(heard).to.deep.equal([["end", { reason: "revoked" }]]);
    expect(requests()).to.equal(2);
  });

  it("is 204 for a token that the gate still accepts for its tolerance of clocks, but whose streams have ended", async () => {
    const { ask } = await startEvents(start, { gate: { revocation: false } });
    const late = await ask({ token: await signToken({ sub: "alice", exp: nowSeconds() - 2 }) });
    expect([late.status, late.body, late.headers["cache-control"]]).to.deep.equal([204, "", "no-store"]);
  });

  it("gives back all that it holds when its client has gone, however it goes", async () => {
    const { ask, open, gate, channel } = await startEvents(start, { gate: { connections: { maxPerUser: 100 } } });
    const subscriptions = countSubscriptions(channel);
    const clients = await Promise.all(Array.from({ length: 20 }, () => open({ token: alice })));
    expect([gate.connections.open, subscriptions.open]).to.deep.equal([20, 20]);
    for (const client of clients) client.drop();
    // Gone before its head was read.
    for (let count = 0; count < 10; count += 1)
      void ask({ token: alice }).then(
        (client) => client.drop(),
        () => undefined,
      );
    await channel.publish("for nobody", { topic: "user:alice" });
    await until(() => gate.connections.open === 0);
    const gauge = gate.metrics().find(({ name }) => name === "portcullis_connections");
    expect(gauge?.samples.map(({ value }) => value)).to.deep.equal([0]);
    expect(subscriptions.open).to.equal(0);
  });

  it("ends with the reason `closed` when its gate is closed, and its client may connect again", async () => {
    const { open, gate } = await startEvents(start);
    const client = await open({ token: alice });
    await gate.close();
    await until(() => client.ended === "whole");
    expect(client.reason).to.equal("closed");
  });

  it("ends with the reason `closed` when its gate is drained, so that its server can close", async () => {
    const { open, ask, gate } = await startEvents(start);
    const client = await open({ token: alice });
    gate.drain();
    await until(() => client.ended === "whole");
    expect(client.reason).to.equal("closed");
    // A load balancer that does not know yet sends the client here again.
    const again = await ask({ token: alice });
    await until(() => again.ended === "whole");
    expect([again.status, again.reason]).to.deep.equal([200, "closed"]);
    expect(again.retry).to.be.at.least(2000);
    await until(() => gate.connections.open === 0);
  });

  it("drops a slow reader with a reason, and costs the others nothing", async () => {
    const { open, channel, gate } = await startEvents(start, { events: { ...ownTopic, maxBuffered: 524_288 } });
    const [slow, fast] = [await open({ token: alice }), await open({ token: alice })];
    slow.pause();
    const text = "x".repeat(60_000);
    let sent = 0;
    while (gate.connections.open === 2 && sent < 1000) {
      for (let count = 0; count < 4; count += 1) {
        await channel.publish({ number: sent, text }, { topic: "user:alice" });
        sent += 1;
      }
      await fast.has(sent);
    }
    expect(fast.data).to.have.lengthOf(sent);
    expect(gate.connections.open).to.equal(1);
    slow.resume();
    await until(() => slow.ended !== "no");
    expect(slow.reason).to.equal("slow");
    const ends = gate.metrics().find(({ name }) => name === "portcullis_connections_ended_total");
    expect(ends?.samples.filter(({ labels }) => labels.reason === "slow").map(({ value }) => value)).to.deep.equal([1]);
    // It has lost nothing: it resumes.
    const resumed = await open({ token: alice, headers: { "Last-Event-ID": slow.lastId } });
    const seen = slow.data.length;
    await until(() => resumed.data.length > 0);
    expect((resumed.data[0] as { number: number }).number).to.equal(seen);
  });

  it("drops a slow reader of a channel without a log too, whatever Last-Event-ID it sends", async () => {
    const { open, channel, gate } = await startEvents(start, {
      events: { ...ownTopic, maxBuffered: 65_536 },
      reliable: false,
    });
    const watching = await open({ token: alice });
    const slow = await open({ token: alice, headers: { "Last-Event-ID": "1" } });
    // Without a log, the first messages may come before the subscription has begun.
    await until(async () => {
      await channel.publish({}, { topic: "user:alice" });
      return watching.data.length > 0 && slow.data.length > 0;
    });
    slow.pause();
    const text = "x".repeat(60_000);
    for (let sent = 0; gate.connections.open === 2 && sent < 400; sent += 1) {
      const seen = watching.data.length;
      await channel.publish({ text }, { topic: "user:alice" });
      await watching.has(seen + 1);
    }
    expect(gate.connections.open).to.equal(1);
  });

  it("brings missed messages at the pace of their client, on one connection", async () => {
    const { ask, open, channel } = await startEvents(start, { events: { ...ownTopic, maxBuffered: 65_536 } });
    const first = await open({ token: alice });
    first.drop();
    const text = "x".repeat(60_000);
    for (let number = 0; number < 150; number += 1) await channel.publish({ number, text }, { topic: "user:alice" });
    const second = await ask({ token: alice, headers: { "Last-Event-ID": first.lastId } });
    second.pause();
    await channel.publish({ number: 150, text }, { topic: "user:alice" });
    while (second.data.length < 151 && second.ended === "no") {
      second.resume();
      await new Promise((resolve) => setTimeout(resolve, 5));
      second.pause();
    }
    expect(second.data.map((one) => (one as { number: number }).number)).to.deep.equal(
      Array.from({ length: 151 }, (_, number) => number),
    );
    second.resume();
    await channel.publish({ number: 151 }, { topic: "user:alice" });
    await second.has(152);
    expect(second.reason).to.equal(undefined);
  });

  it("skips messages whose names are those of the stream itself, and says so once", async () => {
    const warnings: string[] = [];
    const logger = { debug: () => undefined, warn: (_fields: object, text: string) => void warnings.push(text) };
    const { open, channel } = await startEvents(start, { gate: { logger } });
    const client = await open({ token: alice });
    for (const event of ["end", "gap", "degraded", "recovered", "open", "error"])
      await channel.publish("forged", { topic: "user:alice", event });
    await channel.publish("real", { topic: "user:alice", event: "ended" });
    await client.has(1);
    expect(client.events.map(({ event, data }) => [event, data])).to.deep.equal([["ended", "real"]]);
    expect(warnings.filter((text) => text.includes("streams of events skip messages"))).to.have.lengthOf(1);
  });

  it("passes a response cache and idempotency, which wait for the end of other responses", async () => {
    const { open, channel } = await startEvents(start, {
      front: (gate) => [gate.cacheResponse({ ttl: "1m" }), gate.idempotency()],
    });
    const clients = await Promise.all([open({ token: alice }), open({ token: alice }), open({ token: bob })]);
    await channel.publish(1, { topic: "user:alice" });
    await channel.publish(2, { topic: "user:bob" });
    await Promise.all(clients.map((client) => client.has(1)));
    expect(clients.map(({ data }) => data)).to.deep.equal([[1], [1], [2]]);
  });
});

for (const adapter of allAdapters) {
  describe(`streams of events behind several gates on ${adapter.name}`, () => {
    it("are those of the users of their own gate", async () => {
      const partners = openGate(adapter, { auth: partnerAuth, logger: silentLogger });
      const forPartners = partners.channels.define<unknown>("news", { schema: (value) => value, reliable: true });
      const { app, open, ask, channel } = await startEvents(
        (options, rest) =>
          adapter.start({
            options: { redis: "memory", auth: testAuth, logger: silentLogger, ...options },
            routes: {},
            ...rest,
          }),
        {
          guard: (gate) => [
            gate.optional(gate.guard()),
            partners.optional(partners.guard()),
            partners.when(
              { path: "/partners" },
              partners.events({ channel: forPartners, topics: ({ auth }) => [auth.subject] }),
            ),
          ],
        },
      );
      const headers = { "x-partner": await signPartnerToken({ sub: "alice" }) };
      const partner = await openEvents(`${app.url}/partners`, { token: bob, headers });
      await until(() => partner.lastId !== "");
      // A user of the other gate is nobody here.
      expect((await ask({ headers })).code).to.equal("credentials_required");
      const own = await open({ token: alice, headers });
      await channel.publish("own", { topic: "user:alice" });
      await forPartners.publish("foreign", { topic: "alice" });
      await Promise.all([own.has(1), partner.has(1)]);
      expect([own.data, partner.data]).to.deep.equal([["own"], ["foreign"]]);
    });
  });
}

for (const adapter of adapters) {
  describe(`a stream of events, in time, on ${adapter.name}`, () => {
    const start: StartApp = (options, rest) =>
      adapter.start({
        options: { redis: "memory", auth: testAuth, logger: silentLogger, ...options },
        routes: {},
        ...rest,
      });

    it("ends when its token expires, and EventSource then stops", async () => {
      const { url } = await startEvents(start, { events: { ...ownTopic, retry: 100 } });
      const token = await signToken({ sub: "alice", exp: nowSeconds() + 2 });
      const { source, heard, requests } = listen(url, () => token);
      await until(() => source.readyState === EventSource.CLOSED);
      expect(heard).to.deep.equal([["end", { reason: "expired" }]]);
      expect(requests()).to.equal(2);
    });

    it("goes on with the next token of EventSource, after the last message that it has heard", async () => {
      const { url, channel, gate } = await startEvents(start, { events: { ...ownTopic, retry: 100 } });
      let token = await signToken({ sub: "alice", exp: nowSeconds() + 2 });
      const { heard } = listen(url, () => token);
      await until(() => gate.connections.open === 1);
      await channel.publish(1, { topic: "user:alice" });
      await until(() => heard.length === 1);
      token = await signToken({ sub: "alice" });
      await until(() => heard.length === 2);
      await channel.publish(2, { topic: "user:alice" });
      await until(() => heard.length === 3);
      expect(heard).to.deep.equal([
        ["message", 1],
        ["end", { reason: "expired" }],
        ["message", 2],
      ]);
    });

    it("drops a client that reads nothing from one heartbeat to the next, although little waits for it", async () => {
      const { open, channel, gate } = await startEvents(start, {
        events: { ...ownTopic, heartbeat: "1s", maxBuffered: 67_108_864 },
      });
      const [slow, idle] = [await open({ token: alice }), await open({ token: bob })];
      slow.pause();
      for (let number = 0; number < 120; number += 1)
        await channel.publish("x".repeat(60_000), { topic: "user:alice" });
      await until(() => gate.connections.open === 1);
      expect(idle.ended).to.equal("no");
      slow.resume();
      await until(() => slow.ended !== "no");
      expect(slow.reason).to.equal("slow");
    });

    it("says so to proxies that a connection without messages is in use", async () => {
      const { open } = await startEvents(start, { events: { ...ownTopic, heartbeat: "1s" }, reliable: false });
      const client = await open({ token: alice });
      await until(() => client.comments >= 2);
      expect(client.events).to.deep.equal([]);
    });
  });
}
