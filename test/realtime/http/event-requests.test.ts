import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { describeOnEveryFramework, withNodeAdapter } from "../../support/every-gate.js";
import { until } from "../../support/until.js";
import { ownTopic, startEvents } from "../support/events-app.js";
import type { AnyEvents } from "../support/events-app.js";

let alice = "";
let bob = "";
// With an await at the top, Mocha loads this file and its helpers a second time.
before(async () => {
  alice = await signToken({ sub: "alice" });
  bob = await signToken({ sub: "bob" });
});

/** Clients name the topics; each user may receive those that begin with its name. */
const namedTopics: AnyEvents = { authorize: ({ auth }, topic) => topic.startsWith(`${auth.subject}:`) };

withNodeAdapter(describeOnEveryFramework)("a request for a stream of events", (start) => {
  it("is refused without a user", async () => {
    const { ask } = await startEvents(start);
    const anonymous = await ask();
    expect([anonymous.status, anonymous.code]).to.deep.equal([401, "credentials_required"]);
    const optional = await startEvents(start, { guard: (gate) => [gate.guard({ optional: true })] });
    expect((await optional.ask()).code).to.equal("credentials_required");
    const unguarded = await startEvents(start, { guard: () => [] });
    expect((await unguarded.ask({ token: alice })).code).to.equal("credentials_required");
  });

  it("may name topics, which the application authorizes one by one", async () => {
    const asked: string[] = [];
    const { ask, open, channel } = await startEvents(start, {
      events: {
        authorize({ auth }, topic) {
          asked.push(topic);
          return Promise.resolve(topic.startsWith(`${auth.subject}:`));
        },
      },
    });
    const client = await open({ token: alice }, "?topic=alice:1&topic=alice:2&topic=alice:1");
    expect(asked).to.deep.equal(["alice:1", "alice:2"]);
    await channel.publish("no", { topic: "alice:3" });
    await channel.publish("yes", { topic: "alice:2" });
    await client.has(1);
    expect(client.data).to.deep.equal(["yes"]);
    const foreign = await ask({ token: alice }, "?topic=alice:1&topic=bob:1");
    expect([foreign.status, foreign.code]).to.deep.equal([403, "topic_refused"]);
    expect(foreign.body).not.to.include("bob:1");
  });

  it("is refused where authorize returns anything but true", async () => {
    for (const wrong of ["yes", 1, {}, undefined, null]) {
      const { ask } = await startEvents(start, { events: { ...ownTopic, authorize: (() => wrong) as never } });
      expect((await ask({ token: alice })).code).to.equal("topic_refused");
    }
  });

  it("is refused with a reason for hostile topics, ids, media types and methods, and the next one is answered", async () => {
    const { ask, open, gate } = await startEvents(start, { events: namedTopics });
    const long = "x".repeat(10_000);
    const hostile: [status: number, code: string, query: string, headers?: Record<string, string>, method?: string][] =
      [
        [400, "topic_invalid", ""],
        [400, "topic_invalid", "?topic="],
        [400, "topic_invalid", "?topic[]=alice:1"],
        [400, "topic_invalid", `?topic=alice:${"x".repeat(195)}`],
        [400, "topic_invalid", `?topic=alice:${long}`],
        [400, "topic_invalid", `?${"topic=alice:1&".repeat(33)}`],
        [400, "topic_invalid", "?topic=alice:%0d%0adata:%20forged"],
        [400, "topic_invalid", "?topic=alice:%00"],
        [400, "topic_invalid", "?topic=alice:%ff"],
        [400, "topic_invalid", "?topic=alice:%ed%a0%80"],
        [403, "topic_refused", "?topic=*"],
        [403, "topic_refused", "?topic=__proto__"],
        [400, "event_id_invalid", "?topic=alice:1", { "Last-Event-ID": "x".repeat(65) }],
        [400, "event_id_invalid", "?topic=alice:1", { "Last-Event-ID": long }],
        [400, "event_id_invalid", "?topic=alice:1", { "Last-Event-ID": "1-0 2-0" }],
        [400, "event_id_invalid", "?topic=alice:1", { "Last-Event-ID": "\u00e9" }],
        [400, "event_id_invalid", "?topic=alice:1&lastEventId=%0a", {}],
        [400, "event_id_invalid", `?topic=alice:1&lastEventId=${long}`, {}],
        [406, "not_acceptable", "?topic=alice:1", { accept: "application/json" }],
        [406, "not_acceptable", "?topic=alice:1", { accept: "text/event-stream;q=0, */*" }],
        [406, "not_acceptable", "?topic=alice:1", { accept: `${long}/${"y".repeat(1000)}` }],
        [406, "not_acceptable", "?topic=alice:1", { accept: ",".repeat(5000) }],
        [405, "method_not_allowed", "?topic=alice:1", {}, "POST"],
        [405, "method_not_allowed", "?topic=alice:1", {}, "PUT"],
        [405, "method_not_allowed", "?topic=alice:1", {}, "DELETE"],
        [405, "method_not_allowed", "?topic=alice:1", {}, "OPTIONS"],
      ];
    for (const [status, code, query, headers = {}, method = "GET"] of hostile) {
      const answer = await ask({ token: alice, headers, method }, query);
      expect([query.slice(0, 60), answer.status, answer.code]).to.deep.equal([query.slice(0, 60), status, code]);
      expect(answer.headers["content-type"]).to.equal("application/problem+json");
      if (status === 405) expect(answer.headers.allow).to.equal("GET, HEAD");
    }
    expect(gate.connections.open).to.equal(0);
    for (const accept of ["text/event-stream", "text/*;q=0.1", "*/*", "application/json, TEXT/EVENT-STREAM ; q=1.0"])
      (await open({ token: alice, headers: { accept } }, "?topic=alice:1")).drop();
  });

  it("has the head of a stream for HEAD, and opens none", async () => {
    const { ask, gate } = await startEvents(start);
    const head = await ask({ token: alice, method: "HEAD" });
    expect([head.status, head.headers["content-type"]]).to.deep.equal([200, "text/event-stream"]);
    expect(gate.connections.open).to.equal(0);
  });

  it("with a cookie must come from an allowed origin, whatever it accepts", async () => {
    const auth = { tokenFrom: { cookie: "token", origins: ["https://app.test"] } };
    const { ask, open } = await startEvents(start, { gate: { auth: { ...testAuth, ...auth } } });
    const cookie = `token=${alice}`;
    for (const accept of ["text/event-stream", "TEXT/EVENT-STREAM", "*/*"]) {
      for (const origin of [{}, { origin: "https://evil.test" }, { "sec-fetch-site": "cross-site" }]) {
        const refused = await ask({ headers: { cookie, accept, ...origin } });
        expect([accept, refused.status, refused.code]).to.deep.equal([accept, 403, "origin_refused"]);
      }
      (await open({ headers: { cookie, accept, origin: "https://app.test" } })).drop();
      (await open({ headers: { cookie, accept, "sec-fetch-site": "same-origin" } })).drop();
    }
  });

  it("is refused where the user has too many streams, and where the process has", async () => {
    const { ask, open, gate } = await startEvents(start, {
      gate: { connections: { maxPerUser: 2, maxPerProcess: 3 } },
    });
    const first = await open({ token: alice });
    await open({ token: alice });
    const third = await ask({ token: alice });
    expect([third.status, third.code]).to.deep.equal([429, "connection_limit"]);
    await open({ token: bob });
    const fourth = await ask({ token: bob });
    expect([fourth.status, fourth.code, fourth.headers["retry-after"]]).to.deep.equal([
      503,
      "connection_capacity",
      "1",
    ]);
    first.drop();
    await until(() => gate.connections.open === 2);
    await open({ token: bob });
  });

  it("fails where the functions of the application fail, and holds nothing", async () => {
    const broken: AnyEvents[] = [
      { topics: () => [] },
      { topics: () => "user:alice" as never },
      { topics: () => ["x".repeat(201)] },
      { topics: () => Array.from({ length: 33 }, (_, index) => `${index}`) },
      { ...ownTopic, authorize: () => Promise.reject(new Error("the database is down")) },
    ];
    for (const events of broken) {
      const { ask, gate } = await startEvents(start, { events });
      expect((await ask({ token: alice })).status).to.equal(500);
      expect(gate.connections.open).to.equal(0);
    }
  });
});
