import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { fingerprintOf, readKey } from "../../../packages/core/src/coordination/idempotency-key.js";
import { decodeKept, encodeKept } from "../../../packages/core/src/coordination/kept-response.js";
import { Repeats } from "../../../packages/core/src/coordination/repeats.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { openGate } from "../../support/fake-gate.js";
import { expectOptionError } from "../../support/option-error.js";
import { until } from "../../support/until.js";

describe("options of idempotency()", () => {
  const rows: readonly (readonly [option: string, value: unknown, hint: string])[] = [
    ["required", "yes", "true or false"],
    ["ttl", 0, "duration"],
    ["ttl", "10ms", "at least a second"],
    ["lease", -1, "duration"],
    ["lease", 1.5, "duration"],
    ["lease", Infinity, "duration"],
    ["lease", "2h", "duration"],
    ["onConflict", "queue", '"refuse", "wait"'],
    ["wait", "5s", 'onConflict: "wait"'],
    ["caller", "alice", "function"],
    ["maxResponse", -1, "whole number"],
    ["onStoreError", "pass", '"deny", "allow"'],
    ["methods", [], 'list such as ["POST"]'],
    ["methods", "POST", 'list such as ["POST"]'],
    ["methods", ["GET"], '"POST"'],
    ["requried", true, "did you mean required"],
  ];

  for (const [option, value, hint] of rows)
    it(`are checked at once: ${option} ${JSON.stringify(value)}`, () => {
      const gate = openGate({ auth: testAuth });
      expectOptionError(() => gate.idempotency({ [option]: value }), `idempotency().${option}`, hint);
    });

  it("need a caller where the gate verifies no tokens", () => {
    const gate = openGate({ auth: undefined });
    expectOptionError(() => gate.idempotency(), "idempotency().caller", "is required without auth");
    expect(gate.idempotency({ caller: () => "all" })).to.be.an("object");
  });
});

describe("the text of an Idempotency-Key", () => {
  it("is read as a string of a structured field, or as it is", () => {
    for (const [field, key] of [
      ['"8e03978e-40d5"', "8e03978e-40d5"],
      ["8e03978e-40d5", "8e03978e-40d5"],
      [' "a b" ', "a b"],
      ['"a\\"b\\\\c"', 'a"b\\c'],
      ['"a,b"', "a,b"],
      ['"a";x=1;y="z"', undefined],
      ['"a"; x=1;y', "a"],
      ["__proto__", "__proto__"],
      ["a{b}*:c", "a{b}*:c"],
      ['"a\\x"', undefined],
      ['"\u00e9"', undefined],
      ["a\0b", undefined],
      ["a\r\nb", undefined],
      ["\ud800", undefined],
    ] as const)
      expect(readKey(field), field).to.equal(key);
  });

  it("is read in time that does not grow with its square", () => {
    const start = performance.now();
    for (const text of [
      '"'.repeat(100_000),
      `"a"${"; a".repeat(300)}`,
      `"${"\\".repeat(1000)}`,
      `"a"${" ".repeat(1000)}x`,
    ])
      readKey(text);
    expect(performance.now() - start).to.be.lessThan(500);
  });
});

describe("the fingerprint of a request", () => {
  const head = { method: "POST", url: "/orders", contentType: "application/json" };
  const of = (value: unknown): string | undefined => fingerprintOf(head, { kind: "parsed", value }, 1_048_576);

  it("is another for every other value", () => {
    const values: unknown[] = [
      ...[
        undefined,
        null,
        true,
        false,
        0,
        1,
        "",
        "0",
        "null",
        [],
        {},
        [[]],
        [{}],
        { a: [] },
        { a: {} },
        { a: undefined },
      ],
      ...[
        ["a"],
        { 0: "a" },
        ["a", "b"],
        ["ab"],
        { a: "b" },
        { ab: "" },
        { a: 1, b: 2 },
        { a: { b: 2 } },
        [1, [2]],
        [[1], 2],
      ],
      ...[
        Buffer.from("a"),
        "a",
        new Date(1),
        new Date(2),
        new Map([["a", 2]]),
        new URLSearchParams("a=1"),
        -0.5,
        Number.NaN,
      ],
      JSON.parse('{"__proto__":1}'),
      { toString: 1 },
    ];
    expect(new Set(values.map(of)).size).to.equal(values.length);
  });

  it("is the same for members in another order, and for other parameters of the media type", () => {
    expect(of({ a: 1, b: { c: 2, d: 3 } })).to.equal(of({ b: { d: 3, c: 2 }, a: 1 }));
    const body = { kind: "parsed", value: { a: 1 } } as const;
    const form = (boundary: string): string | undefined =>
      fingerprintOf({ ...head, contentType: `multipart/form-data; boundary=${boundary}` }, body, 1000);
    expect(form("one")).to.equal(form("two"));
  });

  it("ends for a value that contains itself", () => {
    const cycle: unknown[] = [];
    cycle.push(cycle, cycle);
    expect(fingerprintOf(head, { kind: "parsed", value: cycle }, 10_000)).to.equal(undefined);
  });
});

describe("a kept response", () => {
  const kept = { status: 201, fields: [["x-a", "1"]], form: "whole", sized: true, removed: [] } as const;

  it("comes back as it was", () => {
    for (const body of [Buffer.from("text\n\u20ac"), Buffer.from([0, 255, 128]), Buffer.alloc(0)]) {
      const reply = decodeKept(encodeKept({ ...kept, body }));
      expect(reply).to.deep.equal({
        ...{ allowed: false, status: 201, body, form: "whole", removed: [] },
        headers: [
          ["x-a", "1"],
          ["content-length", String(body.byteLength)],
          ["idempotency-replayed", "?1"],
        ],
      });
    }
    expect(decodeKept(encodeKept({ ...kept, body: undefined }))).to.equal("completed");
  });

  it("is nothing where its text is foreign, cut off or changed", () => {
    const text = encodeKept({ ...kept, body: Buffer.from("body") });
    const wrong = [
      "",
      "i1:",
      "i1:[",
      "i1:null\n",
      "i2:{}\n",
      text.slice(0, -1),
      `${text}x`,
      text.replace("201", "500"),
    ];
    for (const one of [...wrong, text.replace("x-a", "x\\na"), text.replace('"whole"', '"none of them"')])
      expect(decodeKept(one), one).to.equal(undefined);
  });
});

describe("calls that are repeated", () => {
  it("end when they are answered, and are bounded", async () => {
    const repeats = new Repeats({ capacity: 1, maxBytes: 100 });
    let calls = 0;
    let others = 0;
    repeats.add(
      () => Promise.resolve((calls += 1) < 2 ? new StoreFault("timeout") : undefined),
      ...([10_000, 10] as const),
    );
    repeats.add(() => Promise.resolve(void (others += 1)), 10_000, 10);
    await until(() => calls === 2);
    repeats.add(() => Promise.resolve(void (others += 1)), 10_000, 101);
    repeats.add(() => Promise.resolve(void (others += 1)), 10_000, 100);
    await until(() => others === 1);
    repeats.close();
    expect([calls, others]).to.deep.equal([2, 1]);
  });
});
