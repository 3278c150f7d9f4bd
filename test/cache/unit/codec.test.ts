import { expect } from "chai";
import fc from "fast-check";
import type { CacheOptions } from "../../../packages/core/src/index.js";
import { readEntry, writeEntry } from "../../../packages/core/src/cache/entry.js";
import { rejectionOf } from "../../support/rejection.js";
import { FakeCacheStore, cacheKeys, openProcess } from "../support/cache-process.js";

const own = {
  encode: (value: unknown) => `mine ${JSON.stringify(value)}`,
  decode: (text: string) => JSON.parse(text.replace(/^mine /, "")) as unknown,
};

describe("the structured codec", () => {
  const cycle: Record<string, unknown> = { a: 1 };
  cycle.self = cycle;
  const values: Readonly<Record<string, unknown>> = {
    dates: [new Date(0), new Date(1e12)],
    maps: new Map<unknown, unknown>([["a", new Map([[1, 2]])]]),
    sets: new Set([1, "a", null]),
    bigints: [5n, -(2n ** 200n)],
    bytes: { a: new Uint8Array([1, 2, 255]), b: new Float64Array([0.1, -0]), c: new BigInt64Array([1n]) },
    numbers: [Number.NaN, Infinity, -Infinity, -0],
    "members that are undefined": { a: undefined, b: [undefined, 1] },
    cycles: cycle,
    "what JSON says too": { a: [1, "x", null, true, { b: {} }] },
  };
  for (const [name, value] of Object.entries(values)) {
    it(`reads back ${name}`, async () => {
      for (const local of [false, { ttl: "1m" }] as const) {
        const { request, service } = openProcess(undefined, { codec: "structured", local });
        await request().set("k", value);
        for (let round = 0; round < 2; round += 1) expect(await request().get("k")).to.deep.equal(value);
        service.flush();
        expect(await request().get("k")).to.deep.equal(value);
      }
    });
  }

  it("does not say functions", async () => {
    const { request, store } = openProcess(undefined, { codec: "structured" });
    for (const value of [() => 1, { a: Symbol("a") }, { f() {} }]) {
      expect(await rejectionOf(request().set("k", value))).to.be.instanceOf(TypeError);
    }
    expect(store.written).to.have.length(0);
  });
});

describe("releases with different codecs", () => {
  const releases: readonly CacheOptions[] = [{ codec: "json" }, { codec: "structured" }, { codec: own }];

  it("read the entries of each other if they have the codec of the entry", async () => {
    for (const writer of releases) {
      for (const reader of releases) {
        const store = new FakeCacheStore();
        await openProcess(store, writer)
          .request()
          .set("k", { a: [1] });
        const readable = writer.codec !== own || reader.codec === own;
        const expected = readable ? { a: [1] } : undefined;
        expect(await openProcess(store, reader).request().get("k")).to.deep.equal(expected);
      }
    }
  });

  it("ignore additions of a later release to the first line, and miss another version", async () => {
    const { request, store } = openProcess();
    await request().set("k", 1);
    const { key = "", value = "" } = store.written[0] ?? {};
    const put = (text: string): Promise<void> => store.inner.setMany([{ key, value: text, ttlMs: 60_000 }]);
    await put(value.replace("\n", " more=1 of:this\n"));
    expect(await request().get("k")).to.equal(1);
    for (const version of ["p3", "p1", "P2", "p2p2", "q2"]) {
      await put(value.replace("p2", version));
      expect(await request().get("k"), version).to.equal(undefined);
    }
  });
});

describe("a codec of your own", () => {
  it("is two functions; an unreadable text is a miss, and a value that it cannot encode a TypeError", async () => {
    const { request, store } = openProcess(undefined, { codec: own });
    await request().set("k", [1]);
    expect(store.written[0]?.value).to.match(/\nmine \[1\]$/);
    expect(await request().get("k")).to.deep.equal([1]);
    const broken = openProcess(store, {
      codec: {
        encode: () => 5 as unknown as string,
        decode: () => {
          throw new Error("no");
        },
      },
    });
    expect(await broken.request().get("k")).to.equal(undefined);
    expect(await rejectionOf(broken.request().set("k", 1))).to.be.instanceOf(TypeError);
  });
});

/** Is this a value after all, for this codec? */
function isValue(head: string, payload: string): boolean {
  if (head.startsWith("p20")) return true;
  if (head.startsWith("p2s")) return false;
  try {
    JSON.parse(payload);
    return true;
  } catch {
    return false;
  }
}

describe("300 hostile texts as cached values", () => {
  const stamp = "generate";
  const heads = ["j", "s", "c", "0", "z"].map((letter) =>
    writeEntry({ letter, createdAt: 1_000_000, freshMs: 60_000, graceMs: 0, generations: stamp, tags: [] }, ""),
  );
  const payloads = [
    ...[
      "",
      "[",
      "{",
      "nul",
      "[1,",
      '"',
      "\0",
      "[[",
      "\ud800",
      "-",
      "{]",
      "[[0]",
      "undefined",
      "()=>1",
      "NaN",
      "'a'",
      "{a:1}",
      "[1 2]",
      "01",
    ],
    ...['[{"__proto__":1}]', '[["Map",9]]', '[["Map",1,2]]', '[["Date",{}]', '[["BigInt","x"]]', '[["Uint8Array",9]]'],
    ...['[["Object",0]]', '[["RegExp","("]]', '[["ArrayBuffer",1]]', '[["null","__proto__",0]]'],
    ...["[".repeat(100_000), '[["Set",'.repeat(9000), "x".repeat(1_100_000), '[["Evil",1]]', '[["URL","::"]]'],
  ];
  const broken = ["", "p", "p2", "p2j", "p2j 1 2 3", "p2j a b c d e", `${heads[0]}`.trimEnd(), "p2j - - - - -\n1"];
  const times = ["zzzzzzzzzz", "0", "-1", "1.5", "NaN", "9".repeat(400)];
  const texts = [
    ...heads.flatMap((head) => payloads.filter((payload) => !isValue(head, payload)).map((payload) => head + payload)),
    ...broken.flatMap((head) => payloads.slice(0, 19).map((payload) => head + payload)),
    ...times.flatMap((time) => payloads.slice(0, 15).map((payload) => `p2j ${time} ${time} 0 other \n${payload}`)),
  ];

  it("are 300 and more", () => expect(new Set(texts).size).to.be.at.least(300));

  for (const options of [{}, { codec: "structured" }, { codec: own }, { local: { ttl: "1m" } }] as CacheOptions[]) {
    it(`are misses with ${JSON.stringify(options)}`, async () => {
      const { request, store } = openProcess(undefined, options);
      const put = (key: string, value: string): Promise<void> => store.inner.setMany([{ key, value, ttlMs: 60_000 }]);
      await put(cacheKeys.cacheGeneration("n:"), stamp);
      for (const [index, text] of texts.entries()) {
        await put(cacheKeys.cacheEntry("shared", "", `k${index}`), text);
        const made = await request().getOrSet({ key: `k${index}` }, () => "made");
        expect(made, JSON.stringify(text.slice(0, 80))).to.equal("made");
      }
      expect(({} as Record<string, unknown>).admin).to.equal(undefined);
    });
  }

  it("are never an exception, whatever they are", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), fc.boolean(), (text, ours) => {
        const entry = readEntry(ours ? `p2j ${text}` : text);
        expect(entry === undefined || text.includes("\n")).to.equal(true);
      }),
      { numRuns: 3000 },
    );
  });
});
