import { testAuth } from "@portcullis/testkit";
import { portcullis } from "@portcullis/express";
import type { ExpressGate } from "@portcullis/express";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";

function openGate(): ExpressGate {
  const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger });
  cleanUp(() => gate.close());
  return gate;
}

describe("the options of events()", () => {
  it("are checked at once, with an error that says what to write instead", () => {
    const gate = openGate();
    const channel = gate.channels.define<unknown>("orders", { schema: (value) => value });
    const topics = ["news"];
    const wrong: [options: unknown, error: RegExp][] = [
      [undefined, /events\(\) must be an object/],
      [{ topics }, /events\(\)\.channel must be a channel of this gate: gate\.channels\.define/],
      [{ channel: "orders", topics }, /events\(\)\.channel must be a channel/],
      [{ channel: { name: "orders", reliable: false }, topics }, /must be a channel of this gate/],
      [{ channel }, /events\(\)\.authorize is required where clients name the topics.*user:\$\{auth\.principal\}/],
      [{ channel, authorize: true }, /events\(\)\.authorize must be a function/],
      [{ channel, topics: [] }, /events\(\)\.topics must have 1 to 32 topics/],
      [{ channel, topics: "news" }, /events\(\)\.topics must be a list of topics, not string/],
      [{ channel, topics: [1] }, /events\(\)\.topics must have topics of 1 to 200 characters/],
      [{ channel, topics: ["a\nb"] }, /must have topics of 1 to 200 characters/],
      [{ channel, topics, heartbeat: "100ms" }, /events\(\)\.heartbeat must be at least "1s"/],
      [{ channel, topics, heartbeat: "1h" }, /events\(\)\.heartbeat must be a duration/],
      [{ channel, topics, retry: 10 }, /events\(\)\.retry must be at least "100ms"/],
      [{ channel, topics, maxBuffered: 1 }, /events\(\)\.maxBuffered must be a whole number from 16384 to 67108864/],
      [{ channel, topics, maxBuffer: 1 }, /events\(\)\.maxBuffer is not an option; did you mean maxBuffered\?/],
      [{ channel, topics, onDeny: "ignore" }, /onDeny must be one of/],
    ];
    for (const [options, error] of wrong) expect(() => gate.events(options as never)).to.throw(error);
  });

  it("take undefined for every option that has a default", () => {
    const gate = openGate();
    const channel = gate.channels.define<unknown>("orders", { schema: (value) => value });
    const none = { heartbeat: undefined, maxBuffered: undefined, retry: undefined, onDeny: undefined };
    gate.events({ channel, topics: ["news"], authorize: undefined, ...none });
    gate.events({ channel, topics: undefined, authorize: () => true, ...none });
  });

  it("take no channel of another gate, whose messages are of other users", () => {
    const channel = openGate().channels.define<unknown>("orders", { schema: (value) => value });
    expect(() => openGate().events({ channel, topics: ["news"] })).to.throw(/must be a channel of this gate/);
  });

  it("need a gate that verifies tokens", () => {
    const gate = portcullis({ redis: "memory", logger: silentLogger });
    cleanUp(() => gate.close());
    const channel = gate.channels.define<unknown>("orders", { schema: (value) => value });
    expect(() => gate.events({ channel, topics: ["news"] })).to.throw(/auth is required for events\(\)/);
  });
});
