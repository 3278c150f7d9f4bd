import { createTokenFactory } from "@portcullis/core/testing";
import { expect } from "chai";
import type { FakeGate } from "../support/fake-gate.js";
import { openGate } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";

/** Each place where a gate stores a value of the application as JSON. */
const places: Readonly<Record<string, (gate: FakeGate, value: unknown) => Promise<unknown>>> = {
  "cache.set()": async ({ cache }, value) => cache.set("k", value),
  "cache.setMany()": async ({ cache }, value) => cache.setMany([["k", value]]),
  "cache.getOrSet()": async ({ cache }, value) => cache.getOrSet({ key: "k" }, () => value),
  "oneTime.issue()": async ({ oneTime }, value) => oneTime.issue("reset", value, { ttl: "1m" }),
  "publish()": async ({ channels }, value) => channels.define("orders", { schema: (given) => given }).publish(value),
  "tokens.issue()": async ({ tokens }, value) => tokens.issue({ subject: "alice", claims: { value } }),
};

function open(warn: (fields: object, message: string) => void = () => undefined): FakeGate {
  const { issuer, audience, secret } = createTokenFactory().auth;
  return openGate({ tokens: { signingKey: secret, issuer, audience }, logger: { debug: () => undefined, warn } });
}

const unsayable: Readonly<Record<string, unknown>> = {
  "a Map": new Map([[1, 2]]),
  "a Set": new Set([1]),
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "a bigint": 1n,
  bytes: Buffer.from("seeded"),
  "an Error": new Error("seeded"),
  "a function": () => "seeded",
  "a symbol": Symbol("seeded"),
};

describe("a value that JSON cannot express", () => {
  for (const [place, store] of Object.entries(places)) {
    it(`is a TypeError of ${place} that names its kind and nothing else, in production too`, async () => {
      const mode = process.env.NODE_ENV;
      process.env.NODE_ENV = "production";
      try {
        for (const [kind, value] of Object.entries(unsayable)) {
          for (const given of [value, { a: [value] }]) {
            const error = await rejectionOf(store(open(), given));
            expect(error, kind).to.be.instanceOf(TypeError);
            expect((error as Error).message)
              .to.include(`JSON can express, not ${kind}`)
              .and.not.include("seeded");
          }
        }
      } finally {
        if (mode === undefined) delete process.env.NODE_ENV;
        else process.env.NODE_ENV = mode;
      }
    });

    it(`loses undefined members in ${place}, which development says once`, async () => {
      const said: string[] = [];
      const gate = open((_fields, message) => said.push(message));
      await store(gate, { a: 1, b: undefined });
      await places["cache.set()"]?.(gate, { a: { b: undefined } });
      await places["cache.set()"]?.(gate, { a: { b: undefined } });
      const drops = said.filter((message) => message.includes("undefined members"));
      expect(drops).to.have.length(place.startsWith("cache") ? 1 : 2);
      expect(drops.join(" ")).to.match(/which JSON drops/);
    });
  }

  it("is named with the codec that can encode it", async () => {
    const { cache } = open();
    expect(((await rejectionOf(cache.set("k", new Map()))) as Error).message).to.include('cache.codec: "structured"');
    expect(((await rejectionOf(cache.set("k", () => 1))) as Error).message).to.not.include("structured");
  });
});
