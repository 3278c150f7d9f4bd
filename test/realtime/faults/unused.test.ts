import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { readDocument } from "../../docs/documents.js";
import { cleanUp } from "../../support/clean-up.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

const schema = (value: unknown): unknown => value;

describe("a gate whose channels nobody uses", function () {
  this.timeout(30_000);

  it("opens no connection, subscription or timer, also if they are defined, and none that stays", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const operator = operate(redis.url);
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const gate = openGate({ redis: redis.url, service: "unused", cache: false, deadline: 2000 });
    const reliable = gate.channels.define("a", { schema, reliable: true });
    const plain = gate.channels.define("b", { schema });
    const connections = async (): Promise<number> =>
      ((await operator.call("CLIENT", "LIST")) as string).trim().split("\n").length;
    await until(async () => (await connections()) === 2);
    // Publishing needs the connection of requests alone.
    await reliable.publish(1);
    await plain.publish(1);
    expect([await connections(), await operator.call("PUBSUB", "CHANNELS")]).to.deep.equal([2, []]);
    const before = timers();
    for (const channel of [reliable, plain]) {
      const subscription = channel.subscribe(() => undefined);
      await subscription.ready;
      subscription.stop();
    }
    await until(async () =>
      ((await operator.call("PUBSUB", "CHANNELS")) as string[]).every((name) => !name.includes("app.")),
    );
    // The heartbeat of the listening connection stays.
    await until(() => timers() <= before + 1);
  });

  it("makes Redis matter for readiness with the first use of a reliable channel, and of no other", async () => {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const gates = [true, false].map((reliable) => {
      const gate = openGate({ redis: redis.url, service: "shop", cache: false, deadline: 2000 });
      return { gate, channel: gate.channels.define("a", { schema, reliable }) };
    });
    for (const { channel } of gates) await channel.publish(1);
    await redis.kill();
    const readiness = async (gate?: FakeGate): Promise<number> => {
      const verdict = await gate?.routes.health().check(fakeExchange({ url: "/readyz" }));
      return verdict === undefined || verdict.allowed ? 0 : verdict.status;
    };
    await until(async () => (await readiness(gates[0]?.gate)) === 503);
    expect(await readiness(gates[1]?.gate)).to.equal(200);
    await redis.restart();
    await until(async () => (await readiness(gates[0]?.gate)) === 200);
  });

  it("is a finding once a channel is defined, if its service has no name", async () => {
    const gate = openGate({ redis: testRedisUrl(), prefix: freshPrefix(), cache: false, deadline: 2000 });
    const codes = async (): Promise<string[]> => (await gate.examine()).map(({ code }) => code);
    expect(await codes()).not.to.include("service_unnamed");
    gate.channels.define("a", { schema });
    expect(await codes()).to.include("service_unnamed");
  });
});

describe("channels with a user who may do only what docs/operations.md says", () => {
  async function open(...more: string[]): Promise<FakeGate> {
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const [, rules = ""] = /ACL SETUSER gate ([^`]+)```/.exec(readDocument("docs/operations.md")) ?? [];
    await operate(redis.url).call("ACL", "SETUSER", "gate", ...rules.trim().split(/\s+/), ...more);
    const url = `redis://gate:password@127.0.0.1:${redis.port}`;
    return openGate({ redis: url, service: "shop", cache: false, deadline: 2000 });
  }

  const missing = async (gate: FakeGate): Promise<string | undefined> =>
    (await gate.examine()).find(({ code }) => code === "permission_missing")?.message;

  it("do everything, and the examination finds nothing", async () => {
    const text = readDocument("docs/operations.md");
    const [, plain = "", pattern = "", reliable = ""] =
      /\[Channels\]\([^)]*\) need `([^`]+)` and `([^`]+)`, reliable ones also `([^`]+)`/.exec(text) ?? [];
    const gate = await open(...plain.split(" "), ...pattern.split(" "), ...reliable.split(" "));
    const announced = (): number => {
      const { samples = [] } = gate.metrics().find(({ name }) => name === "portcullis_channel_messages_total") ?? {};
      return samples.find(({ labels }) => labels.outcome === "own")?.value ?? 0;
    };
    for (const isReliable of [true, false]) {
      const channel = gate.channels.define(`c-${isReliable}`, { schema, reliable: isReliable });
      const heard: unknown[] = [];
      const subscription = channel.subscribe((data) => heard.push(data));
      await subscription.ready;
      // The first messages of a reliable channel may be found in its log, before the process hears announcements.
      const before = announced();
      let published = 0;
      await until(async () => {
        await channel.publish((published += 1));
        return announced() > before;
      });
      await until(() => heard.length === published);
    }
    expect(await missing(gate)).to.equal(undefined);
  });

  it("are refused without them, and the examination says so once they are defined", async () => {
    const gate = await open();
    expect(await missing(gate)).to.equal(undefined);
    const [reliable, plain] = [true, false].map((one) => gate.channels.define(`c-${one}`, { schema, reliable: one }));
    for (const channel of [reliable, plain])
      expect(await rejectionOf(channel?.publish(1) ?? Promise.resolve())).to.include({
        name: "StoreFault",
        reply: "NOPERM",
      });
    expect(await missing(gate))
      .to.include("reliable channels")
      .and.include("messages between processes");
  });
});
