import { createServer } from "node:http";
import { portcullis } from "@portcullis/express";
import { secure } from "@portcullis/socket.io";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { Server } from "socket.io";
import { cleanUp } from "../../support/clean-up.js";

describe("the options of secure()", () => {
  function make(): { io: Server; gate: ReturnType<typeof portcullis> } {
    const io = new Server(createServer());
    const gate = portcullis({ redis: "memory", auth: testAuth });
    cleanUp(async () => {
      await gate.close();
      await io.close();
    });
    return { io, gate };
  }

  const wrong: readonly [unknown, RegExp][] = [
    [{ limit: [] }, /limit is not an option of secure\(\); they are limits, handshakes/],
    [{ limits: {} }, /limits must be a list such as/],
    [{ limits: ["chat"] }, /limits\[0\] must be an object such as/],
    [{ limits: [{ name: "chat" }] }, /limits\[0\]\.name is unknown/],
    [{ limits: [{ limit: 5 }] }, /limits\[0\]\.limit must be the name/],
    [{ limits: [{ limit: "a", events: "chat" }] }, /limits\[0\]\.events must be a list/],
    [{ limits: [{ limit: "a", cost: -1 }] }, /limits\[0\]\.cost must be a whole number/],
    [{ handshakes: true }, /handshakes must be a limit, or false/],
    [{ address: "127.0.0.1" }, /address must be a function/],
    [{ adapter: "redis" }, /adapter must be "gate" or "own"/],
    [{ maxLength: 1 }, /maxLength must be a whole number from 100/],
  ];
  for (const [options, message] of wrong)
    it(`are checked at once: ${JSON.stringify(options)}`, () => {
      const { io, gate } = make();
      expect(() => secure(io, gate, options as never)).to.throw(message);
    });

  it("need the gate itself, an attached server, and one call for each server", () => {
    const { io, gate } = make();
    expect(() => secure(io, { ...gate })).to.throw(TypeError, /must be the gate that portcullis\(\) has returned/);
    expect(() => secure(new Server(), gate)).to.throw(TypeError, /call it after attach\(\) or listen\(\)/);
    secure(io, gate);
    expect(() => secure(io, gate)).to.throw(TypeError, /was called for this server before/);
  });

  it("need a Socket.IO server with the members that the protection rests on", () => {
    const { io, gate } = make();
    const owners: readonly [object, string][] = [
      [io, "_nsps"],
      [io, "_opts"],
      [io.engine, "use"],
      [io.engine, "clients"],
      [io.sockets, "_fns"],
    ];
    for (const [owner, name] of owners) {
      const known = Object.getOwnPropertyDescriptor(owner, name);
      Object.defineProperty(owner, name, { value: undefined, configurable: true });
      expect(() => secure(io, gate), name).to.throw(TypeError, /does not know this version of Socket.IO/);
      if (known === undefined) Reflect.deleteProperty(owner, name);
      else Object.defineProperty(owner, name, known);
    }
    secure(io, gate);
  });

  it("leave connection state recovery no way around the checks", () => {
    const { gate } = make();
    const io = new Server(createServer(), { connectionStateRecovery: { skipMiddlewares: true } });
    secure(io, gate);
    expect(io._opts.connectionStateRecovery?.skipMiddlewares).to.equal(false);
  });
});
