import { expect } from "chai";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate } from "../../support/fake-gate.js";
import { expectOptionError } from "../../support/option-error.js";
import { rejectionOf } from "../../support/rejection.js";

/** Values that callers without types may pass. */
type Loose = (...args: unknown[]) => unknown;

const schema = (value: unknown): unknown => value;

describe("arguments of channels", () => {
  let gate: FakeGate;
  let define: Loose;
  beforeEach(() => {
    gate = openGate({});
    define = gate.channels.define.bind(gate.channels) as Loose;
  });

  it("are checked at once: names are constants of the code, and each is defined once", () => {
    for (const name of ["", "a b", "a:b", "{a}", "*", "a\n", "\u00e9", "x".repeat(61), 7, null, undefined, ["a"]])
      expectOptionError(() => define(name, { schema }), "the name of a channel", /letters, digits/);
    define("orders", { schema });
    expectOptionError(() => define("orders", { schema }), "channels.define()", /define it once/);
    for (let index = 1; index < 1000; index += 1) define(`c${index}`, { schema });
    expectOptionError(() => define("more", { schema }), "channels.define()", /at most 1000/);
  });

  it("are checked at once: options of a channel", () => {
    for (const options of [undefined, null, [], "x"]) expect(() => define("a", options)).to.throw(TypeError);
    for (const bad of [undefined, null, {}, "x"])
      expectOptionError(() => define("a", { schema: bad }), "channels.define().schema", /function/);
    expectOptionError(() => define("a", { schema, relieble: true }), "channels.define().relieble", /reliable/);
    for (const reliable of [1, "true", null])
      expectOptionError(() => define("a", { schema, reliable }), "channels.define().reliable", /true or false/);
    for (const maxLength of [0, 99, 1_000_001, 100.5, Number.NaN, "100", null])
      expectOptionError(
        () => define("a", { schema, reliable: true, maxLength }),
        "channels.define().maxLength",
        /whole/,
      );
    for (const maxAge of [0, 999, "8d", "1.5h", "", null, true])
      expectOptionError(
        () => define("a", { schema, reliable: true, maxAge }),
        "channels.define().maxAge",
        /duration|at least/,
      );
    expectOptionError(() => define("a", { schema, maxAge: "1h" }), "channels.define().maxAge", /reliable: true/);
    expectOptionError(() => define("a", { schema, maxLength: 100 }), "channels.define().maxLength", /reliable: true/);
    define("a", { schema, reliable: undefined, maxLength: undefined, maxAge: undefined });
  });

  it("are checked at once: subscriptions and messages, without their texts in the error", async () => {
    const channel = gate.channels.define("a", { schema, reliable: true });
    const plain = gate.channels.define("b", { schema });
    const subscribe = channel.subscribe.bind(channel) as Loose;
    for (const listener of [undefined, null, {}, "x"])
      expect(() => subscribe(listener)).to.throw(TypeError, /function/);
    const listener = (): void => undefined;
    for (const [options, option] of [
      [{ topic: 7 }, "subscribe().topic"],
      [{ topic: "" }, "subscribe().topic"],
      [{ topic: [] }, "subscribe().topic"],
      [{ topic: ["a", null] }, "subscribe().topic"],
      [{ topic: "secret".repeat(40) }, "subscribe().topic"],
      [{ topic: Array.from({ length: 1001 }, (_, index) => `${index}`) }, "subscribe().topic"],
      [{ after: 7 }, "subscribe().after"],
      [{ after: null }, "subscribe().after"],
      [{ onGap: 1 }, "subscribe().onGap"],
      [{ onState: {} }, "subscribe().onState"],
      [{ signal: {} }, "subscribe().signal"],
      [{ topics: "a" }, "subscribe().topics"],
    ] as const) {
      expectOptionError(() => subscribe(listener, options), option, /must|did you mean/);
      expect(() => subscribe(listener, options))
        .to.throw()
        .with.property("message")
        .not.match(/secretsecret/);
    }
    expectOptionError(() => plain.subscribe(listener, { after: "1-1-x" }), "subscribe().after", /reliable: true/);
    expect(await rejectionOf(plain.lastId())).to.be.instanceOf(TypeError);
    const publish = channel.publish.bind(channel) as (...args: unknown[]) => Promise<unknown>;
    for (const options of [null, [], "x", { topics: "a" }])
      expect(await rejectionOf(publish(1, options))).to.be.instanceOf(TypeError);
  });

  it("are refused with a reason for a schema that is async, and nothing is left unhandled", async () => {
    const later = gate.channels.define("later", { schema: async (value) => Promise.reject(new Error(String(value))) });
    expect(await rejectionOf(later.publish(1 as never)))
      .to.be.instanceOf(TypeError)
      .with.property("message")
      .match(/async/);
  });
});
