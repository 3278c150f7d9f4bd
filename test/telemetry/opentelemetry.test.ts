import { context, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
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
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { openGate, present } from "../support/fake-gate.js";

interface HistogramValue {
  readonly count: number;
  readonly buckets: { readonly boundaries: readonly number[] };
}

describe("OpenTelemetry", () => {
  it("gets a span for each decision, below its request, one for each round trip, and the counters", async () => {
    const spans = new InMemorySpanExporter();
    const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
    const meters = new MeterProvider({ readers: [reader] });
    const manager = new AsyncLocalStorageContextManager().enable();
    context.setGlobalContextManager(manager);
    const gate = openGate({ redis: testRedisUrl(), prefix: freshPrefix(), auth: testAuth, deadline: 1000 });
    const stop = instrument(gate, { tracer: tracers.getTracer("test"), meter: meters.getMeter("test") });
    const request = tracers.getTracer("test").startSpan("GET /me");
    const token = await signToken();
    await context.with(trace.setSpan(context.active(), request), async () => {
      await present(gate, token);
      await present(gate, "nonsense");
    });
    await reader.forceFlush();
    stop();
    await present(gate, token);

    const guards = spans.getFinishedSpans().filter(({ name }) => name === "portcullis.guard");
    expect(guards.map(({ attributes }) => attributes["portcullis.code"])).to.deep.equal(["allowed", "token_invalid"]);
    for (const span of guards) expect(span.parentSpanContext?.spanId).to.equal(request.spanContext().spanId);
    const [call, ...others] = spans.getFinishedSpans().filter(({ name }) => name === "portcullis.store");
    expect(others).to.deep.equal([]);
    expect(call?.attributes).to.deep.equal({
      ...{ "portcullis.gate": gate.name, "portcullis.store": "security", "portcullis.questions": 1 },
    });
    expect(call?.parentSpanContext).to.equal(undefined);
    expect(
      JSON.stringify(spans.getFinishedSpans().map(({ attributes, status }) => [attributes, status])),
    ).not.to.include(token);

    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
    const valueOf = (name: string) => metrics.find(({ descriptor }) => descriptor.name === name)?.dataPoints[0]?.value;
    expect(valueOf("portcullis_allowed_total")).to.equal(1);
    expect(valueOf("portcullis_denied_total")).to.equal(1);
    const calls = valueOf("portcullis_store_call_duration_seconds") as HistogramValue;
    expect(calls.count).to.equal(1);
    expect(calls.buckets.boundaries).to.include.members([0.0005, 0.05, 10]);
    expect(valueOf("portcullis_up")).to.equal(1);

    await gate.close();
    await Promise.all([tracers.shutdown(), meters.shutdown()]);
    manager.disable();
    context.disable();
  });
});
