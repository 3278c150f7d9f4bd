import type { Attributes } from "@opentelemetry/api";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { expect } from "chai";
import fc from "fast-check";
import { signToken, testAuth } from "@portcullis/testkit";
import { instrument } from "@portcullis/core/opentelemetry";
import type { Audience } from "../../packages/core/src/auth/audience.js";
import { checkService, resolveService } from "../../packages/core/src/store/service-name.js";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";
import { prometheusText } from "../../packages/core/src/telemetry/metrics.js";
import { freshPrefix, operate, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import { openGate, present } from "../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../support/fake-gate.js";

const { audience } = testAuth;

function textOf(name: string | undefined, ...audiences: readonly Audience[]): string {
  return resolveService(name, { issuers: audiences.map((one) => ({ audience: one })) }).keyText;
}

const word = fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom("a", "b", "a,b", '"', '"],["', "aud", "false", "1"));
const anyAudience = fc.oneof(
  fc.constant<Audience>(false),
  fc.array(word, { minLength: 1, maxLength: 3 }),
  fc.record({ claim: word, values: fc.array(word, { minLength: 1, maxLength: 3 }) }),
);
const anyName = fc.stringMatching(/^[A-Za-z0-9_.-]{1,64}$/).filter((name) => name !== "default");

describe("the service of a gate", () => {
  it("is a short, plain text; other values are an error that shows the correct form", () => {
    for (const service of ["o", "orders-api", "Orders.v2_eu", "x".repeat(64), "defaults"])
      openGate({ service, auth: testAuth });
    for (const service of ["", "x".repeat(65), "orders:eu", "orders api", "~a", "b\u00fccher", "{1}", "a\n", "default"])
      expect(() => openGate({ service, auth: testAuth }), service).to.throw(
        TypeError,
        /service must .*say|such as|empty/,
      );
    for (const service of [1, null, ["orders"], {}, false])
      expect(() => openGate({ service, auth: testAuth } as never)).to.throw(
        TypeError,
        "service must be a non-empty string",
      );
  });

  it("by a name never meets one by its audience, nor one by neither, and each name is another", () => {
    fc.assert(
      fc.property(anyName, anyName, fc.array(anyAudience, { maxLength: 3 }), (name, other, audiences) => {
        checkService(name);
        expect(textOf(name, ...audiences)).to.equal(name);
        expect(textOf(undefined, ...audiences)).not.to.equal(name);
        expect(textOf(name) === textOf(other)).to.equal(name === other);
      }),
    );
  });

  it("by its audiences is the same for the same set of claims and values, and for no other", () => {
    const membersOf = (all: readonly Audience[]): string =>
      [
        ...new Set(
          all.flatMap((one) =>
            one === false
              ? []
              : ("claim" in one ? one.values : one).map((value) =>
                  ["claim" in one ? one.claim : "aud", value].map((text) => `${text.length}:${text}`).join(""),
                ),
          ),
        ),
      ]
        .sort()
        .join("") + (all.includes(false) ? "any" : "");
    fc.assert(
      fc.property(
        fc.array(anyAudience, { minLength: 1, maxLength: 3 }),
        fc.array(anyAudience, { minLength: 1, maxLength: 3 }),
        (some, others) => {
          expect(textOf(undefined, ...some) === textOf(undefined, ...others)).to.equal(
            membersOf(some) === membersOf(others),
          );
          expect(textOf(undefined, ...some, ...some.toReversed())).to.equal(textOf(undefined, ...some));
        },
      ),
    );
    expect(textOf(undefined, ["a", "b"])).to.equal(textOf(undefined, ["b"], ["a", "a"]));
    expect(textOf(undefined, ["a,b"])).not.to.equal(textOf(undefined, ["a", "b"]));
    expect(textOf(undefined, { claim: "client_id", values: ["a"] })).not.to.equal(textOf(undefined, ["a"]));
    expect(resolveService(undefined, undefined).keyText).to.equal("default").and.to.equal(textOf(undefined, false));
  });

  it("is in every key, prefix and channel of caches, and in no key that services share", () => {
    const [a, b] = ["orders", "orders.v2"].map((service) => new Keyspace("p:", "secret", { service })) as [
      Keyspace,
      Keyspace,
    ];
    const own = (keys: Keyspace): string[] => [
      keys.cacheEntry("shared", "n", "k"),
      keys.cacheEntry("response", "", "k"),
      keys.cacheEntry("response-target", "", "target /k"),
      keys.cacheGeneration("n:"),
      keys.cacheGeneration("t:tag"),
      keys.generationPrefix(),
      ...keys.cachePrefixes(),
      ...keys.cachePrefixes("n"),
      keys.channel("cache"),
    ];
    const shared = (keys: Keyspace): string[] => [
      keys.channel("sessions"),
      keys.revokedToken("j"),
      keys.subjectCutoff("s"),
      ...keys.revocationPrefixes(),
      ...Object.values<string>({ ...keys.sessionsOf("s") }),
      ...Object.values<string>({ ...keys.groupOf("o") }),
      keys.quota("p", keys.userPartition("s")),
      keys.login("login", "account", "s"),
      keys.failedLogins("s"),
      keys.limitOverrides(),
      ...keys.topKeys("p"),
      keys.proof("thumbprint", "j"),
      ...keys.markers(false),
    ];
    expect(shared(a)).to.deep.equal(shared(b));
    const theirs = own(b);
    own(a).forEach((key, index) => {
      expect(key).to.include(":orders:");
      // Not even as the beginning of another: prefixes are tracked.
      for (const other of theirs)
        expect(other.startsWith(key) || key.startsWith(other), `${index} ${key}`).to.equal(false);
    });
    expect(() => new Keyspace("", "secret", { service: "a:b" })).to.throw(TypeError);
  });
});

describe("two services on one Redis", () => {
  function openTwo(options: FakeOptions = {}): [FakeGate, FakeGate, string] {
    const prefix = freshPrefix();
    const common = { redis: testRedisUrl(), prefix, auth: testAuth, deadline: 1000, ...options };
    return [openGate({ ...common, service: "a" }), openGate({ ...common, service: "b" }), prefix];
  }

  function heard(gate: FakeGate): number {
    const metric = gate.metrics().find(({ name }) => name === "portcullis_channel_messages_total");
    return metric?.samples.find(({ labels }) => labels.outcome === "heard")?.value ?? 0;
  }

  it("never wait for each other's makers", async () => {
    const [a, b] = openTwo();
    let letA: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (letA = resolve));
    const begun = new Promise<void>((resolve) => {
      void a.cache.getOrSet({ key: "k" }, async () => {
        resolve();
        await held;
        return "a";
      });
    });
    await begun;
    // With the lease of the other it would wait for as long as that lasts, and that is for ever.
    expect(await b.cache.getOrSet({ key: "k" }, () => "b")).to.equal("b");
    letA();
    expect(await a.cache.getOrSet({ key: "k" }, () => "another")).to.equal("a");
    expect(await b.cache.get("k")).to.equal("b");
  });

  it("never hear each other's news, also with every namespace tracked, or a Redis for caches apart", async () => {
    const url = testRedisUrl();
    for (const options of [{}, { cache: { tracked: true } }, { redis: { security: url, cache: { url, db: 0 } } }]) {
      const [a, b, prefix] = openTwo(options);
      const twin = openGate({
        redis: testRedisUrl(),
        prefix,
        auth: testAuth,
        deadline: 1000,
        ...options,
        service: "b",
      });
      for (const gate of [a, b, twin]) await gate.cache.set("k", 1);
      for (const gate of [a, b, twin]) expect(await gate.cache.get("k")).to.equal(1);
      // The first that a process hears, after what is old enough to have been said before it listened.
      let round = 0;
      while (heard(b) === 0 && round++ < 500) {
        await a.cache.delete("other");
        await twin.cache.delete("other");
      }
      const [ofA, ofB] = [heard(a), heard(b)];
      expect(ofB).to.be.greaterThan(0);
      expect(ofA).to.equal(0);
      await a.cache.delete("k");
      await a.cache.deleteByTag("t");
      // What comes after it is heard after it.
      await twin.cache.delete("other");
      await until(() => heard(b) > ofB);
      expect(await b.cache.get("k")).to.equal(1);
      expect(await a.cache.get("k")).to.equal(undefined);
    }
  });

  it("keep leases in the prefix, whatever that is", async () => {
    const redis = operate(testRedisUrl());
    const prefix = `${freshPrefix().slice(5, 15)}:portcullis:2:cache:a:`;
    const gate = openGate({ redis: testRedisUrl(), prefix, service: "a", deadline: 1000 });
    const keys = await gate.cache.getOrSet({ key: "k" }, () => redis.keys(`*${prefix.slice(0, 10)}*`));
    expect(keys).to.satisfy((all: string[]) => all.every((key) => key.startsWith(prefix)));
    expect(keys).to.satisfy((all: string[]) => all.some((key) => key.startsWith(`${prefix}portcullis:2:making:a::{`)));
  });
});

describe("a service that has a name", () => {
  const services = [
    { service: "orders-api", label: "orders-api" },
    { service: undefined, label: undefined },
  ];

  for (const { service, label } of services) {
    it(`has ${label === undefined ? "no label" : "it as a label"} in every value of every metric`, async () => {
      const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
      const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
      const meters = new MeterProvider({ readers: [reader] });
      const gate = openGate({ redis: testRedisUrl(), prefix: freshPrefix(), auth: testAuth, service, deadline: 1000 });
      const stop = instrument(gate, { meter: meters.getMeter("test") });
      await present(gate, await signToken({ aud: audience }));
      await present(gate, "nonsense");
      await gate.cache.getOrSet({ key: "k" }, () => 1);
      await reader.forceFlush();
      stop();

      const values = gate.metrics().flatMap(({ samples }) => samples);
      expect(values.length).to.be.greaterThan(10);
      for (const { labels } of values) expect(labels.service).to.equal(label);
      const lines = prometheusText(gate.metrics())
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("#"));
      for (const line of lines) expect(line.includes(`{service="${label ?? ""}"`), line).to.equal(label !== undefined);
      const labels = `${label === undefined ? "" : `service="${label}",`}gate="${gate.name}"`;
      expect(lines).to.include(`portcullis_allowed_total{${labels}} 1`);
      const attributes = exporter
        .getMetrics()
        .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
        .flatMap(({ dataPoints }) => (dataPoints as { attributes: Attributes }[]).map((point) => point.attributes));
      expect(attributes.length).to.be.greaterThan(10);
      for (const { service: said } of attributes) expect(said).to.equal(label);
      await meters.shutdown();
    });
  }
});
