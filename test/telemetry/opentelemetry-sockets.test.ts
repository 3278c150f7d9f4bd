import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { signToken, testAuth } from "@portcullis/testkit";
import { instrument } from "@portcullis/core/opentelemetry";
import { expect } from "chai";
import type { RunningApp } from "../support/app.js";
import { adapters } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

interface Point {
  readonly attributes: Readonly<Record<string, string>>;
  readonly value: number | { readonly count: number; readonly sum: number; readonly buckets: { counts: number[] } };
}

/** The names of the gates, one on Express and one on Koa. */
const names = ["users", "partners"] as const;
const allowedRequests = 4;
const refusedRequests = 3;
const parallel = 10;

describe("gates of two frameworks in one process, instrumented with OpenTelemetry", () => {
  let spans: InMemorySpanExporter;
  let read: () => Promise<Map<string, Point[]>>;
  let start: () => Promise<RunningApp[]>;
  let stops: (() => void)[];

  beforeEach(() => {
    spans = new InMemorySpanExporter();
    const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 });
    const meters = new MeterProvider({ readers: [reader] });
    stops = [];
    cleanUp(async () => {
      for (const stop of stops) stop();
      await Promise.all([tracers.shutdown(), meters.shutdown()]);
    });
    read = async () => {
      exporter.reset();
      await reader.forceFlush();
      const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics));
      return new Map(all.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints as unknown as Point[]]));
    };
    start = async () => {
      const apps = await Promise.all(
        adapters.map((adapter, index) =>
          adapter.start({
            options: {
              ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 5000, auth: testAuth },
              ...{ telemetry: { gate: names[index] }, logger: silentLogger },
            },
            routes: { "GET /me": () => ({}) },
          }),
        ),
      );
      for (const { gate } of apps)
        stops.push(instrument(gate, { tracer: tracers.getTracer("test"), meter: meters.getMeter("test") }));
      expect(apps.map(({ gate }) => gate.name)).to.deep.equal([...names]);
      return apps;
    };
  });

  /** As many requests at each, with texts that the client chooses in every place. */
  async function load(apps: readonly RunningApp[]): Promise<void> {
    const token = await signToken();
    const chosen = await signToken({ aud: "chosen\r\n{gate}", sub: "chosen" }, { kid: "chosen kid" });
    const headers = { "x-gate": "chosen", baggage: "gate=chosen", "user-agent": "chosen" };
    for (const { url } of apps) {
      for (let count = 0; count < allowedRequests; count += 1) await send(`${url}/me?gate=chosen`, { token, headers });
      for (let count = 0; count < refusedRequests; count += 1) await send(`${url}/me`, { token: chosen, headers });
    }
    await Promise.all(
      apps.flatMap(({ url }) => Array.from({ length: parallel }, async () => send(`${url}/me`, { token, headers }))),
    );
  }

  function spansOf(name: string): Record<string, number> {
    const found: Record<string, number> = {};
    for (const span of spans.getFinishedSpans()) {
      const { "portcullis.gate": gate, "portcullis.code": code } = span.attributes;
      if (span.name === "portcullis.guard" && gate === name) found[String(code)] = (found[String(code)] ?? 0) + 1;
    }
    return found;
  }

  it("have their own spans and series, and histograms that add up to the requests", async () => {
    await load(await start());
    const metrics = await read();
    for (const gate of names) {
      const allowed = allowedRequests + parallel;
      expect(spansOf(gate)).to.deep.equal({ allowed, token_invalid: refusedRequests });
      const outcomes = { allowed, denied: refusedRequests };
      for (const [outcome, count] of Object.entries(outcomes)) {
        const of = (name: string): Point | undefined =>
          metrics.get(name)?.find(({ attributes }) => attributes["gate"] === gate && attributes["outcome"] === outcome);
        expect(of("portcullis_requests_total")?.value).to.equal(count);
        const { value } = of("portcullis_decision_duration_seconds") ?? { value: 0 };
        if (typeof value === "number") throw new Error("there is no histogram");
        expect(value.count).to.equal(count);
        expect(value.buckets.counts.reduce((sum, one) => sum + one)).to.equal(count);
        expect(value.sum).to.be.within(0, count * 5);
      }
    }
    const points = [...metrics.values()].flat();
    expect(points.filter(({ attributes }) => !names.some((name) => name === attributes["gate"]))).to.deep.equal([]);
    expect(JSON.stringify(points.map(({ attributes }) => attributes))).not.to.include("chosen");
  });

  it("are not recorded twice when closed gates were not stopped, and others have taken their names", async () => {
    for (let round = 1; round <= 3; round += 1) {
      const apps = await start();
      spans.reset();
      await load(apps);
      const allowed = allowedRequests + parallel;
      for (const gate of names) expect(spansOf(gate)).to.deep.equal({ allowed, token_invalid: refusedRequests });
      const decisions = (await read()).get("portcullis_decision_duration_seconds") ?? [];
      const counts = decisions.map(({ value }) => (typeof value === "number" ? value : value.count));
      expect(counts.toSorted((one, other) => one - other)).to.deep.equal(
        [refusedRequests, refusedRequests, allowed, allowed].map((count) => count * round),
      );
      for (const app of apps) await app.close();
    }
  });
});
