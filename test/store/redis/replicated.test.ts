import { EventEmitter } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { expect } from "chai";
import type { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { maxWaiting } from "../../../packages/core/src/store/redis/connection-wait.js";
import { ReplicatedWriter } from "../../../packages/core/src/store/redis/replicated.js";
import { defineScript } from "../../../packages/core/src/store/redis/scripts/lua.js";

const script = defineScript("return 1");

/** A client that answers, or is silent until its command times out. */
class FakeClient extends EventEmitter {
  status = "wait";
  calls = 0;
  silent = false;

  async connect(): Promise<void> {
    await turn();
    this.status = "ready";
  }

  disconnect(): void {
    this.status = "end";
  }

  async call(): Promise<unknown> {
    this.calls += 1;
    await turn();
    if (this.status === "end") throw new Error("Connection is closed.");
    if (this.silent) throw new Error("Command timed out");
    return 1;
  }
}

function open() {
  const made: FakeClient[] = [];
  const listeners = new Set<() => void>();
  const state = { silent: false, connectTimeout: 0 };
  const connection = {
    isCluster: false,
    client: {
      duplicate({ connectTimeout }: { readonly connectTimeout: number }) {
        const client = new FakeClient();
        state.connectTimeout = connectTimeout;
        client.silent = state.silent;
        made.push(client);
        return client;
      },
    },
    onConnect(listener: () => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  } as unknown as Connection;
  const writer = new ReplicatedWriter(connection);
  const write = async (): Promise<string> =>
    writer.write(script, ["k"], [], 1).then(
      () => "written",
      (error: unknown) => (error as StoreFault).kind,
    );
  return { writer, write, made, listeners, state };
}

describe("writes that wait for replicas", () => {
  it("share a connection, one after the other", async () => {
    const { write, made } = open();
    expect(await Promise.all([write(), write(), write()])).to.deep.equal(["written", "written", "written"]);
    expect(made).to.have.length(1);
  });

  it("take another one when theirs is silent, or when there may be another master", async () => {
    const { write, made, listeners, state } = open();
    state.silent = true;
    expect(await write()).to.equal("timeout");
    expect(made[0]?.status).to.equal("end");
    state.silent = false;
    expect(await write()).to.equal("written");
    // It may come while one is under way, as it does at the start.
    const underWay = write();
    await turn();
    for (const listener of listeners) listener();
    expect(await underWay).to.equal("written");
    expect(await write()).to.equal("written");
    expect(made[1]?.status).to.equal("end");
    expect(made).to.have.length(3);
  });

  it("leave no connection after close, also those that waited for their turn", async () => {
    const { writer, write, made, listeners } = open();
    const writes = Promise.all([write(), write(), write()]);
    await turn();
    writer.close();
    expect(await writes).to.deep.equal(["unreachable", "unreachable", "unreachable"]);
    expect(await write()).to.equal("unreachable");
    expect(made.map(({ status }) => status)).to.deep.equal(made.map(() => "end"));
    expect(listeners.size).to.equal(0);
  });

  it("are held in a bounded number, and none of them is held for long by a server that does not take the connection", async () => {
    const { write, state } = open();
    const ends = Array.from({ length: maxWaiting + 100 }, write);
    expect(await Promise.all(ends.slice(maxWaiting))).to.deep.equal(Array.from({ length: 100 }, () => "overloaded"));
    expect(new Set(await Promise.all(ends.slice(0, maxWaiting)))).to.deep.equal(new Set(["written"]));
    expect([await write(), state.connectTimeout]).to.deep.equal(["written", 1000]);
  });
});
