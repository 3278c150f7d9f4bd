import { subscribe, unsubscribe } from "node:diagnostics_channel";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { instrument } from "@portcullis/core/opentelemetry";
import { adapters } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { openGate, present } from "../support/fake-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { expectOptionError } from "../support/option-error.js";

describe("several gates in one process", () => {
  it("have different names in their metrics and events, also where the options name none or the same", async () => {
    const heard: string[] = [];
    const listen = (message: unknown): void => void heard.push((message as { gate: string }).gate);
    subscribe("portcullis:denied", listen);
    cleanUp(() => unsubscribe("portcullis:denied", listen));
    const wanted = [undefined, undefined, { gate: "orders" }, { gate: "orders" }];
    const gates = wanted.map((telemetry) => openGate({ auth: testAuth, telemetry }));
    const names = gates.map(({ name }) => name);
    expect(new Set(names).size).to.equal(4);
    expect(names[0]).to.match(/^default(-\d+)?$/);
    expect(names.slice(2)).to.deep.equal(["orders", "orders-2"]);
    for (const gate of gates) await present(gate, "nonsense");
    expect(heard).to.deep.equal(names);
    for (const gate of gates)
      for (const { samples } of gate.metrics())
        for (const { labels } of samples) expect(labels.gate).to.equal(gate.name);
    // The name of a gate that was closed is free.
    await gates[2]?.close();
    await gates[2]?.close();
    expect(openGate({ telemetry: { gate: "orders" } }).name).to.equal("orders");
    expect(openGate({ service: "billing" }).name).to.equal("billing");
  });

  it("are read at one path, as one valid text", async () => {
    for (const adapter of adapters) {
      const partner = adapter.createGate({
        redis: "memory",
        auth: testAuth,
        telemetry: { gate: "partner" },
        logger: silentLogger,
      });
      cleanUp(() => partner.close());
      const app = await adapter.start({
        options: { redis: "memory", auth: testAuth, telemetry: { gate: "users" }, logger: silentLogger },
        // Each gate may stand in the list more than once, and the gate of the route too.
        use: (gate) => [gate.routes.metrics({ gates: [partner, gate, partner] }), gate.guard()],
        routes: { "GET /me": () => ({}) },
      });
      await send(`${app.url}/me`, { token: await signToken() });
      await partner.verify("nonsense");
      const { text } = await send(`${app.url}/metrics`);
      const declared = text.match(/^# TYPE \S+/gm) ?? [];
      expect(new Set(declared).size).to.equal(declared.length);
      const series = (text.match(/^[^#].*(?= )/gm) ?? []).map(String);
      expect(series.filter((one, index) => series.indexOf(one) !== index)).to.deep.equal([]);
      expect(text).to.include(`portcullis_requests_total{gate="${app.gate.name}",outcome="allowed"} 1\n`);
      expect(text).to.include(`portcullis_requests_total{gate="${partner.name}",outcome="denied"} 1\n`);
      expectOptionError(() => app.gate.routes.metrics({ gates: [{} as never] }), "metrics().gates", /list of gates/);
    }
  });

  it("each have their spans and metrics in OpenTelemetry, none of them twice", async () => {
    const spans = new InMemorySpanExporter();
    const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
    const meters = new MeterProvider({ readers: [reader] });
    const gates = ["users", "partners"].map((gate) => openGate({ auth: testAuth, telemetry: { gate } }));
    const stops = gates.map((gate) =>
      instrument(gate, { tracer: tracers.getTracer("test"), meter: meters.getMeter("test") }),
    );
    const [users, partners] = gates as [(typeof gates)[0], (typeof gates)[0]];
    await present(users, await signToken());
    await present(users, await signToken());
    await present(partners, await signToken({ aud: "another" }));
    await reader.forceFlush();
    for (const stop of stops) stop();

    const seen = spans
      .getFinishedSpans()
      .map(({ attributes }) => [
        attributes["portcullis.gate"],
        attributes["portcullis.code"],
        attributes["portcullis.claim"],
        attributes["portcullis.found"],
      ]);
    expect(seen).to.deep.equal([
      ["users", "allowed", undefined, undefined],
      ["users", "allowed", undefined, undefined],
      ["partners", "token_invalid", "aud", '"another"'],
    ]);
    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
    const valueOf = (name: string, attributes: Record<string, string>): unknown =>
      metrics
        .filter(({ descriptor }) => descriptor.name === name)
        .flatMap(({ dataPoints }) => dataPoints as { attributes: object; value: unknown }[])
        .find((point) =>
          Object.entries(attributes).every(([key, value]) => Reflect.get(point.attributes, key) === value),
        )?.value;
    expect(valueOf("portcullis_requests_total", { gate: "users", outcome: "allowed" })).to.equal(2);
    expect(valueOf("portcullis_requests_total", { gate: "partners", outcome: "denied" })).to.equal(1);
    expect(valueOf("portcullis_denied_total", { gate: "partners", code: "token_invalid" })).to.equal(1);
    const decisions = valueOf("portcullis_decision_duration_seconds", { gate: "users", outcome: "allowed" });
    expect(decisions).to.include({ count: 2 });
    await Promise.all([tracers.shutdown(), meters.shutdown()]);
  });
});

describe("histograms", () => {
  it("have the buckets of the option, and measure decisions where it says so", async () => {
    const gate = openGate({ auth: testAuth, telemetry: { buckets: [0.5, 60], decisions: true } });
    await present(gate, await signToken());
    const metric = gate.metrics().find(({ name }) => name === "portcullis_decision_duration_seconds");
    expect(metric?.buckets).to.deep.equal([0.5, 60]);
    expect(metric?.samples.map(({ suffix, labels }) => `${suffix} ${labels["le"] ?? ""}`)).to.deep.equal([
      ...["_bucket 0.5", "_bucket 60", "_bucket +Inf", "_sum ", "_count "],
    ]);
    expect(metric?.samples.at(-1)?.value).to.equal(1);
    const plain = openGate({}).metrics();
    expect(plain.map(({ name }) => name)).not.to.include("portcullis_decision_duration_seconds");
    expect(plain.find(({ type }) => type === "histogram")?.buckets).to.have.length(11);
  });

  it("refuse buckets that are none", () => {
    for (const buckets of [
      [],
      [0],
      [1, 1],
      [2, 1],
      [Number.NaN],
      ["1"],
      5,
      Array.from({ length: 101 }, (_, i) => i + 1),
    ])
      expectOptionError(
        () => openGate({ telemetry: { buckets: buckets as number[] } }),
        "telemetry.buckets",
        /ascending order/,
      );
    expectOptionError(() => openGate({ telemetry: { gate: "a b" } }), "telemetry.gate", /letters/);
    expectOptionError(() => openGate({ telemetry: { bucket: [1] } as object }), "telemetry.bucket", /buckets/);
  });
});
