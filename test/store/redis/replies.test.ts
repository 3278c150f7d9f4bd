import { inspect } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import {
  faultOfReply,
  integerIn,
  readFlag,
  readInteger,
  readList,
  readListOf,
  readNumber,
  readNumbers,
  readOptionalText,
  readPairs,
  readText,
  readTexts,
  readTime,
  readWritten,
} from "../../../packages/core/src/store/redis/replies.js";

function faultOf(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    return error instanceof StoreFault ? error.kind : error;
  }
}

describe("a list of numbers of a reply", () => {
  /** As the script writes them, somewhere within a larger chunk of the socket. */
  function packed(numbers: readonly number[]): Buffer {
    const chunk = Buffer.alloc(3 + 8 * numbers.length + 5, 0xff);
    numbers.forEach((number, index) => chunk.writeDoubleLE(number, 3 + 8 * index));
    return chunk.subarray(3, 3 + 8 * numbers.length);
  }

  it("is the same as a list and as bytes, up to 2^53", () => {
    for (const numbers of [[], [0], [-2, -1, 0, 1], [1.8e12, 2 ** 52, 2 ** 53 - 1, 5]]) {
      expect(readNumbers(packed(numbers))).to.deep.equal(numbers);
      expect(readNumbers(numbers)).to.deep.equal(numbers);
    }
  });

  it("has whole numbers, as Redis makes them of Lua's", () => {
    expect(readNumbers(packed([1.9, -1.9, 0.5])).map((number) => (number as number) + 0)).to.deep.equal([1, -1, 0]);
  });

  it("is none, and a fault, where bytes are missing or it is something else", () => {
    const whole = packed([1, 2]);
    for (const length of [1, 7, 9, 15])
      expect(faultOf(() => readNumbers(whole.subarray(0, length)))).to.equal("unreadable");
    for (const reply of [null, "12345678", 8, {}, undefined])
      expect(faultOf(() => readNumbers(reply))).to.equal("unreadable");
    expect(integerIn(readNumbers(packed([Number.NaN]))[0], 0)).to.equal(undefined);
    expect(integerIn(readNumbers(packed([Infinity]))[0], 0)).to.equal(undefined);
  });
});

describe("an integer of a reply", () => {
  it("is the same as a number, as text, as bytes and as a bigint", () => {
    for (const value of [0, 1, 42, 2 ** 53 - 1]) {
      for (const reply of [value, String(value), Buffer.from(String(value)), BigInt(value)])
        expect(readInteger(reply), typeof reply).to.equal(value);
    }
    expect(integerIn("-1", -2)).to.equal(-1);
    expect(Object.is(integerIn("-0", 0), 0), "no negative zero").to.equal(true);
  });

  it("is nothing that a lenient parser would take for one", () => {
    const odd = [
      ...["", " ", " 1", "1 ", "+1", "1.0", "1e3", "0x10", "nan", "NaN", "inf", "Infinity", "1_0", "\u0661", "1\n"],
      ...[Number.NaN, Infinity, 1.5, 2 ** 53, -1, "9007199254740992", "99999999999999999999", 10n ** 20n],
      ...[null, undefined, true, false, [], [1], ["1"], {}, new Map(), new Set([1]), new Date(1), Buffer.from("x")],
    ];
    for (const reply of odd)
      expect(
        faultOf(() => readInteger(reply)),
        inspect(reply),
      ).to.equal("unreadable");
  });

  it("is never NaN, negative or unsafe, whatever the reply", () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withMap: true, withSet: true, withTypedArray: true }), (reply) => {
        const value = integerIn(reply, 0);
        if (value !== undefined) expect(Number.isSafeInteger(value) && value >= 0).to.equal(true);
      }),
    );
  });
});

describe("other replies", () => {
  it("to a question of yes and no are 1 and 0", () => {
    expect([1, 0, "1", "0", Buffer.from("1")].map(readFlag)).to.deep.equal([true, false, true, false, true]);
    for (const reply of [2, -1, "OK", null, true, "", []])
      expect(faultOf(() => readFlag(reply))).to.equal("unreadable");
  });

  it("to a conditional write are OK and null", () => {
    expect(["OK", Buffer.from("OK"), null].map(readWritten)).to.deep.equal([true, true, false]);
    for (const reply of [undefined, "", "ok", 1, 0, false, []])
      expect(
        faultOf(() => readWritten(reply)),
        inspect(reply),
      ).to.equal("unreadable");
  });

  it("are texts, from bytes too, and null where there is none", () => {
    expect([readText("a"), readText(Buffer.from("\u00e9")), readText(new Uint8Array([97]))]).to.deep.equal([
      "a",
      "\u00e9",
      "a",
    ]);
    expect([readOptionalText(null), readOptionalText("")]).to.deep.equal([undefined, ""]);
    for (const reply of [undefined, 1, {}, []]) expect(faultOf(() => readOptionalText(reply))).to.equal("unreadable");
  });

  it("are lists, also as the sets of RESP3, of the length that was asked for", () => {
    expect(readTexts(new Set(["a", "b"]))).to.deep.equal(["a", "b"]);
    expect(readList([])).to.deep.equal([]);
    expect(faultOf(() => readListOf([1], 2))).to.equal("unreadable");
    for (const reply of [null, "ab", { length: 1 }, new Map(), 3])
      expect(faultOf(() => readList(reply))).to.equal("unreadable");
  });

  it("are pairs, flat, nested, as the maps of RESP3 and as the objects that a transformer makes", () => {
    const pairs = [
      ["a", "1"],
      ["b", "2"],
    ] as const;
    for (const reply of [pairs.flat(), pairs, new Map(pairs), Object.fromEntries(pairs), ["a", 1, "b", 2]])
      expect(readPairs(reply)).to.deep.equal(pairs);
    expect([readPairs([]), readPairs({})]).to.deep.equal([[], []]);
    for (const reply of [["a"], [["a"]], ["a", null], null, "ab", new Map([["a", {}]])])
      expect(
        faultOf(() => readPairs(reply)),
        JSON.stringify(reply),
      ).to.equal("unreadable");
  });

  it("are numbers with fractions, and times", () => {
    expect([1.5, "1.5", "-3", "1e3", Buffer.from("7")].map(readNumber)).to.deep.equal([1.5, 1.5, -3, 1000, 7]);
    for (const reply of ["nan", "inf", "", "0x1", null, Number.NaN, [1]])
      expect(faultOf(() => readNumber(reply))).to.equal("unreadable");
    expect([readTime(["1", "500000"]), readTime([2, 0])]).to.deep.equal([1500, 2000]);
    for (const reply of [["1"], ["1", "2", "3"], ["nan", "0"], null, 5])
      expect(faultOf(() => readTime(reply))).to.equal("unreadable");
  });
});

describe("an error of a command inside a script", () => {
  it("is an outage where the user may not call it, or its slot moves: Redis gives both the word ERR", () => {
    const user = "ERR The user executing the script can't";
    for (const [message, reply] of [
      [`${user} run this command or subcommand`, "NOPERM"],
      [`${user} run this command or subcommand script: 8a2f, on @user_script:1.`, "NOPERM"],
      [`${user} access at least one of the keys mentioned in the command arguments`, "NOPERM"],
      ["ERR Script attempted to access a non local key in a cluster node", "TRYAGAIN"],
    ] as const)
      expect(faultOfReply(message)).to.include({ kind: "refused", outage: true, reply });
    for (const [message, reply] of [
      ["ERR Unknown Redis command called from script", "ERR unknown command"],
      ["ERR unknown command 'EVALSHA', with args beginning with: ", "ERR unknown command"],
      ["unsupported command 'hello'", "ERR unknown command"],
      ["ERR max daily request limit exceeded. Limit: 10000, Usage: 10001", "ERR limit exceeded"],
      [
        "ERR Error running script (call to abc): @user_script:2: script tried accessing undeclared key",
        "ERR undeclared key",
      ],
      ["upstream failure", "ERR upstream failure"],
      ["no upstream host", "ERR upstream failure"],
    ] as const)
      expect(faultOfReply(message), message).to.include({ kind: "refused", outage: true, reply });
    for (const message of [
      "WRONGTYPE Operation against a key",
      "ERR value is not an integer or out of range",
      "ERR increment or decrement would overflow",
      "ERR words that nobody knows, about one part of an answer",
    ])
      expect(faultOfReply(message)).to.include({ kind: "unreadable", outage: false });
  });
});
