import { expect } from "chai";
import fc from "fast-check";
import { decodeRecord, encodeVary, encodeResponse } from "../../../packages/core/src/response-cache/stored-response.js";
import { hostileIdentifiers } from "../../support/hostile.js";
import { storedResponse } from "../support/freshness.js";

describe("a stored response", () => {
  it("comes back as it was, whatever its bytes and texts are", () => {
    const text = fc.string({ unit: "grapheme" });
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 300 }),
        fc.array(fc.tuple(text, fc.string({ unit: "grapheme", minLength: 1 })), { minLength: 1 }),
        fc.boolean(),
        (bytes, generations, isText) => {
          const body = isText ? Buffer.from(Buffer.from(bytes).toString("utf8")) : Buffer.from(bytes);
          const response = { ...storedResponse, body, generations };
          const back = decodeRecord(encodeResponse(response));
          expect(back).to.deep.include({ generations, status: 200, fields: response.fields, vary: response.vary });
          expect(Buffer.compare((back as typeof response).body, body)).to.equal(0);
        },
      ),
    );
  });

  it("is a miss if it was cut off, changed, or is not ours", () => {
    const good = encodeResponse(storedResponse);
    for (let end = 0; end < good.length; end += 1)
      expect(decodeRecord(good.slice(0, end)), `${end}`).to.equal(undefined);
    for (const other of [
      `${good}x`,
      good.replace("r1:", "r2:"),
      good.replace("r1:", "p1:"),
      ` ${good}`,
      good.replace('"size":4', '"size":5'),
    ])
      expect(decodeRecord(other)).to.equal(undefined);
    const members: Record<string, unknown[]> = {
      status: ["200", 99, 600, 500, 200.5, null],
      fields: [null, {}, [["a"]], [["a", 1]], [["a\r\nb", "x"]], [["a", "x\r\nset-cookie: y"]], [["", "x"]]],
      lifetime: [-1, "60", null, {}],
      storedMs: [null, "0"],
      storeMs: [null, "0", -1],
      mustRevalidate: [1, "true", null],
      open: [undefined, "yes"],
      vary: ["accept", [1], null],
      generations: [[["a"]], {}, null, [], [["tag a", ""]]],
      isText: ["x"],
      form: ["xml", 1, null, undefined],
      sized: [1, null],
      removed: ["age", [1], null],
    };
    const [head = "", body = ""] = good.slice(3).split("\n");
    for (const [name, values] of Object.entries(members)) {
      for (const value of values) {
        const record = { ...(JSON.parse(head) as object), [name]: value };
        expect(decodeRecord(`r1:${JSON.stringify(record)}\n${body}`), `${name} ${JSON.stringify(value)}`).to.equal(
          undefined,
        );
      }
    }
  });

  it("is a miss for 300 hostile texts, as they are and behind our own mark", () => {
    expect(hostileIdentifiers).to.have.length.above(300);
    for (const text of hostileIdentifiers) {
      for (const tried of [
        text,
        `r1:${text}`,
        `r1:${text}\n`,
        `r1:{"choice":${JSON.stringify(text)}}\n`,
        `r1:{"__proto__":${JSON.stringify(text)}}\n`,
      ])
        expect(decodeRecord(tried)).to.equal(undefined);
    }
    expect(decodeRecord(undefined)).to.equal(undefined);
    expect(({} as { status?: unknown }).status).to.equal(undefined);
  });

  it("is led to by the fields that choose it", () => {
    expect(decodeRecord(encodeVary(storedResponse))).to.deep.equal({ vary: ["accept"] });
  });
});
