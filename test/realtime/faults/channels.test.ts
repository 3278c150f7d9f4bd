import { startProxy, startRedis, startSentinel } from "@portcullis/testkit";
import type { Proxy, RedisServer } from "@portcullis/testkit";
import type { Channel, ChannelOptions, RedisTarget } from "@portcullis/core";
import { StoreFault } from "@portcullis/core";
import { expect } from "chai";
import type { Redis } from "ioredis";
import { cleanUp } from "../../support/clean-up.js";
import { openGate } from "../../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { operate } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";
import type { Heard, Order } from "../contracts/channels.js";
import { listen, orderSchema, subscribe } from "../contracts/channels.js";

const service = "shop";
const stream = "portcullis:2:event-log:shop:*";
const channelName = "portcullis:2:channel:shop:app.orders";

function open(redis: RedisTarget, options: FakeOptions = {}): FakeGate {
  return openGate({ redis, service, deadline: 1000, cache: false, ...options });
}

function define(gate: FakeGate, options: Partial<ChannelOptions<Order>> = {}): Channel<Order> {
  return gate.channels.define("orders", { schema: orderSchema, reliable: true, ...options });
}

function count(gate: FakeGate, name: string, labels: Readonly<Record<string, string>>): number {
  const metric = gate.metrics().find((one) => one.name === name);
  const samples = metric?.samples.filter((sample) =>
    Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  );
  return (samples ?? []).reduce((sum, { value }) => sum + value, 0);
}

/** Publishes until it succeeds. */
async function publishAgain(channel: Channel<Order>, n: number): Promise<string> {
  let id: string | undefined;
  await until(async () => {
    id = await channel.publish({ n }).catch(() => undefined);
    return id !== undefined;
  });
  return id ?? "";
}

describe("reliable channels on a bad day", function () {
  this.timeout(60_000);
  let server: RedisServer;
  let proxy: Proxy;
  let admin: Redis;
  let writer: Channel<Order>;

  beforeEach(async () => {
    server = await startRedis();
    cleanUp(() => server.stop());
    proxy = await startProxy(server);
    cleanUp(() => proxy.close());
    admin = operate(server.url);
    writer = define(open(server.url));
  });

  /** A process whose connections go through the proxy. */
  function reader(options: FakeOptions = {}): { gate: FakeGate; channel: Channel<Order> } {
    const gate = open(proxy.url, options);
    return { gate, channel: define(gate) };
  }

  it("lose and repeat nothing when the connections of a subscriber are reset again and again", async () => {
    const { channel } = reader();
    const heard = await listen(channel);
    for (let n = 0; n < 60; n += 1) {
      await writer.publish({ n });
      if (n % 12 === 5) proxy.reset();
    }
    await until(() => heard.numbers.length >= 60);
    expect([heard.numbers, heard.gaps]).to.deep.equal([Array.from({ length: 60 }, (_, n) => n), []]);
  });

  it("tell of a subscriber that is half open, and catch up when it is connected again", async () => {
    const { channel } = reader();
    const states: string[] = [];
    const heard = await listen(channel, { onState: (state) => states.push(state) });
    proxy.freeze();
    for (let n = 0; n < 5; n += 1) await writer.publish({ n });
    await until(() => states.length === 1);
    proxy.thaw();
    await until(() => heard.numbers.length === 5 && states.length === 2);
    expect([heard.numbers, heard.gaps, states]).to.deep.equal([[0, 1, 2, 3, 4], [], ["degraded", "recovered"]]);
  });

  it("find a message whose announcement was lost when they look, without any other message", async () => {
    const { gate, channel } = reader();
    const heard = await listen(channel);
    await writer.publish({ n: 1 });
    await until(() => heard.numbers.length === 1);
    // A user whose permission for the channel was taken away: the message is kept, and not announced.
    await admin.call("ACL", "SETUSER", "mute", "on", ">mute", "~*", "resetchannels", "+@all");
    const mute = define(open(`redis://mute:mute@127.0.0.1:${server.port}`));
    await mute.publish({ n: 2 });
    await until(() => heard.numbers.length === 2);
    expect(count(gate, "portcullis_channel_messages_total", { outcome: "read" })).to.be.at.least(1);
  });

  it("ignore and count garbage and huge messages on the channel, and read the log at most once for each", async () => {
    const { gate, channel } = reader();
    const outcome = (name: string): number => count(gate, "portcullis_channel_messages_total", { outcome: name });
    const heard = await listen(channel);
    // The log may be read before the process listens.
    await until(async () => {
      await writer.publish({ n: 0 });
      return outcome("heard") > 0;
    });
    const before = outcome("heard");
    const envelope = "1:AAAAAAAAAAAA:1:";
    const garbage = ["", "x", envelope, `${envelope}x`, `${envelope}1-1-zz  {}`, `${envelope} {}`, "1:__proto__aaa:"];
    for (const text of garbage) await admin.publish(channelName, text);
    for (const bytes of [Buffer.from([0xff, 0xfe, 0]), Buffer.alloc(1000, 0xc0)])
      await admin.publish(channelName, bytes);
    await admin.publish(channelName, "x".repeat(5_000_000));
    // Announcements of messages that the log does not have.
    for (let index = 0; index < 100; index += 1)
      await admin.publish(
        channelName,
        `1:AAAAAAAAAAAA:${index + 2}:9999999999999-${index}-0123456789ab  {"data":{"n":7}}`,
      );
    await writer.publish({ n: 1 });
    await until(() => heard.numbers.at(-1) === 1 && outcome("huge") === 1 && outcome("heard") >= before + 101);
    expect([heard.numbers.filter((n) => n !== 0), heard.gaps]).to.deep.equal([[1], []]);
    expect(outcome("garbage")).to.equal(9);
  });

  it("ignore and count entries of the log that no release has written, and payloads that the schema refuses", async () => {
    const { gate, channel } = reader();
    const start = await channel.lastId();
    const [key = ""] = (await admin.keys(stream)).filter((name) => !name.endsWith(":head"));
    const tagged = (body: string): string[] => ["t", "0123456789ab", "o", "x", "m", body];
    await admin.xadd(key, "*", "a", "b");
    for (const body of ["x", "null", "[]", '{"n":1}', '{"data":{"n":"x"}}', '{"topic":7,"data":{"n":1}}'])
      await admin.xadd(key, "*", ...tagged(body));
    await admin.xadd(key, "*", ...tagged("[".repeat(60_000)));
    await writer.publish({ n: 1 });
    const heard = await listen(channel, { after: start });
    expect([heard.numbers, heard.gaps]).to.deep.equal([[1], []]);
    expect(count(gate, "portcullis_channel_messages_total", { outcome: "garbage" })).to.equal(7);
    expect(count(gate, "portcullis_channel_messages_total", { outcome: "invalid" })).to.equal(1);
    await writer.publish({ n: 2 });
    await until(() => heard.numbers.length === 2);
  });

  it("reject while Redis stands still, within the deadline, and lose no message that was confirmed", async () => {
    const { channel } = reader();
    const heard = await listen(channel);
    server.pause();
    const since = performance.now();
    const faults = await Promise.all([1, 2, 3].map(async (n) => rejectionOf(writer.publish({ n }))));
    for (const fault of faults)
      expect(fault).to.be.instanceOf(StoreFault).and.to.include({ status: 503, kind: "timeout", mayHaveRun: true });
    expect(performance.now() - since).to.be.below(10_000);
    const late = subscribe(channel);
    server.resume();
    const id = await publishAgain(writer, 4);
    await until(() => heard.numbers.includes(4));
    await late.subscription.ready;
    expect(heard.gaps).to.deep.equal([]);
    // The calls that timed out have run: each at most once, and before the later one.
    expect(heard.numbers).to.deep.equal([...new Set(heard.numbers)]);
    expect(heard.numbers.at(-1)).to.equal(4);
    expect((await listen(channel, { after: id })).numbers).to.deep.equal([]);
  });

  it("reject at once while Redis is gone, send nothing later, and subscribe when it is back", async () => {
    const { channel, gate } = reader();
    await channel.publish({ n: 0 });
    await server.kill();
    proxy.reset();
    for (let n = 1; n <= 8; n += 1) expect(await rejectionOf(channel.publish({ n }))).to.be.instanceOf(StoreFault);
    expect(gate.health().store.findings).to.include("reliable channels fail");
    expect(gate.breakers.find(({ name }) => name === "redis.event-log")?.state).to.equal("open");
    expect(count(gate, "portcullis_channel_published_total", { outcome: "failed" })).to.equal(8);
    const heard = subscribe(channel);
    await server.restart();
    await heard.subscription.ready;
    await publishAgain(channel, 9);
    await until(() => heard.numbers.length > 0);
    expect(heard.numbers).to.deep.equal([9]);
  });

  it("report one gap to everybody after FLUSHALL, and go on", async () => {
    const { channel } = reader();
    const heard = await Promise.all([listen(channel), listen(channel, { topic: "a" })]);
    const id = await writer.publish({ n: 1 });
    await until(() => heard[0].numbers.length === 1);
    await admin.flushall();
    await writer.publish({ n: 2 });
    await writer.publish({ n: 3 });
    await until(() => heard[0].numbers.length === 3);
    expect(heard.map(({ gaps }) => gaps)).to.deep.equal([["lost"], ["lost"]]);
    expect(heard[0].numbers).to.deep.equal([1, 2, 3]);
    const resumed = await listen(channel, { after: id });
    expect([resumed.gaps, resumed.numbers]).to.deep.equal([["lost"], [2, 3]]);
    // Nobody publishes: the loss is found by looking.
    await admin.flushall();
    await until(() => heard.every(({ gaps }) => gaps.length === 2));
    await writer.publish({ n: 4 });
    await until(() => heard[0].numbers.length === 4);
    expect(heard.map(({ gaps }) => gaps.length)).to.deep.equal([2, 2]);
  });

  it("say at every call that a key has another type, once in the log, and go on when it is gone", async () => {
    const { channel } = reader();
    await writer.publish({ n: 1 });
    const names = await admin.keys(stream);
    for (const name of names) {
      await admin.del(...names);
      await admin.set(name, "poison", "EX", 60);
      if (name.endsWith(":head")) await admin.del(name);
      if (name.endsWith(":head")) await admin.lpush(name, "poison");
      expect(await rejectionOf(writer.publish({ n: 2 }))).to.include({ name: "StoreFault", kind: "unreadable" });
      expect(await rejectionOf(channel.lastId())).to.include({ name: "StoreFault", kind: "unreadable" });
    }
    const heard = subscribe(channel);
    await admin.del(...names);
    await heard.subscription.ready;
    await writer.publish({ n: 3 });
    await until(() => heard.numbers.length === 1);
  });

  it("end with the gate, whatever they are doing, and leave no timer and no connection", async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    const gates = [reader(), reader(), reader()];
    const first = await writer.publish({ n: 1 });
    for (let n = 0; n < 600; n += 1) await writer.publish({ n });
    const [live, resuming, starting] = gates;
    const late: Heard[] = [];
    if (live !== undefined) late.push(await listen(live.channel));
    if (resuming !== undefined) late.push(subscribe(resuming.channel, { after: first }));
    if (starting !== undefined) late.push(subscribe(starting.channel));
    const publishing = gates.map(async ({ channel }) => channel.publish({ n: 7 }).catch((error: unknown) => error));
    await Promise.all(gates.map(async ({ gate }) => gate.close()));
    const counts = late.map(({ numbers }) => numbers.length);
    await Promise.all([...late.map(({ subscription }) => subscription.ready), ...publishing]);
    await writer.publish({ n: 8 });
    for (const { channel } of gates) {
      expect(await rejectionOf(channel.publish({ n: 9 }))).to.be.instanceOf(StoreFault);
      const { subscription, numbers } = subscribe(channel);
      await subscription.ready;
      expect(numbers).to.deep.equal([]);
    }
    expect(late.map(({ numbers }) => numbers.length)).to.deep.equal(counts);
    await until(() => proxy.connections === 0 && timers() <= before);
  });
});

describe("a reliable channel whose master is lost with the end of the log", function () {
  this.timeout(90_000);

  it("reports one gap, and brings everything that is published afterwards", async () => {
    const group = await startSentinel({ replicas: 1, downAfterMs: 500 });
    cleanUp(() => group.stop());
    const redis = { sentinels: group.sentinels, name: group.name };
    const [writer, reader] = [define(open(redis)), define(open(redis))];
    const heard = await listen(reader);
    const kept = await publishAgain(writer, 1);
    await until(() => heard.numbers.length === 1);
    const master = await group.findMaster();
    const replica = group.servers.find((one) => one !== master);
    const other = operate(replica?.url ?? "");
    await until(async () => (await other.keys(stream)).length === 2);
    // The replica gets nothing more: the end of the log is on the master alone.
    replica?.pause();
    await operate(master.url).call("CLIENT", "KILL", "TYPE", "replica");
    const lost = await publishAgain(writer, 2);
    await until(() => heard.numbers.length === 2);
    await master.kill();
    replica?.resume();
    await publishAgain(writer, 3);
    await publishAgain(writer, 4);
    await until(() => heard.numbers.includes(4));
    expect([heard.numbers, heard.gaps]).to.deep.equal([[1, 2, 3, 4], ["lost"]]);
    const resumed = await listen(reader, { after: lost });
    expect([resumed.numbers, resumed.gaps]).to.deep.equal([[3, 4], ["lost"]]);
    const before = await listen(reader, { after: kept });
    expect([before.numbers, before.gaps]).to.deep.equal([[3, 4], []]);
  });
});
