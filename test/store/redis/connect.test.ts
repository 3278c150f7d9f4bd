import { EventEmitter } from "node:events";
import { expect } from "chai";
import { connect, callWithin } from "../../../packages/core/src/store/redis/connect.js";
import { maxWaiting } from "../../../packages/core/src/store/redis/connection-wait.js";
import { openLatch } from "../../support/latch.js";
import { silentLogger } from "../../support/logger.js";

/** A client of one node. */
class FakeNode extends EventEmitter {
  connects = 0;
  calls = 0;
  readonly status: string;

  constructor(status: string) {
    super();
    this.status = status;
  }

  connect(): Promise<void> {
    this.connects += 1;
    return Promise.resolve();
  }

  call(): Promise<unknown> {
    this.calls += 1;
    return Promise.resolve("OK");
  }
}

/** A user's client that does as the test says. */
class FakeClient extends EventEmitter {
  readonly sent: string[][] = [];
  readonly isCluster: boolean;
  status = "connecting";

  constructor(isCluster: boolean) {
    super();
    this.isCluster = isCluster;
    if (isCluster) this.nodes = () => this.masters;
  }

  masters: FakeNode[] = [];
  readonly nodes?: () => FakeNode[];

  become(status: string): void {
    this.status = status;
    this.emit(status);
  }

  call(...words: (string | number)[]): Promise<unknown> {
    this.sent.push(words.map(String));
    return Promise.resolve("OK");
  }
}

async function settled(): Promise<void> {
  await new Promise(setImmediate);
}

function open(isCluster: boolean) {
  const client = new FakeClient(isCluster);
  const scripts = [{ source: "return 1", sha1: "d" }];
  const connection = connect({ redis: client, deadlineMs: 50, logger: silentLogger, scripts });
  let greeted = 0;
  connection.onConnect(() => (greeted += 1));
  return { client, connection, greeted: () => greeted };
}

const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;

describe("a connection", () => {
  it("greets the server, with the scripts, whenever it is made", () => {
    const { client, greeted } = open(false);
    expect([greeted(), client.sent]).to.deep.equal([0, []]);
    client.emit("ready");
    client.emit("ready");
    expect(greeted()).to.equal(2);
    expect(client.sent).to.deep.equal([
      ["SCRIPT", "LOAD", "return 1"],
      ["SCRIPT", "LOAD", "return 1"],
    ]);
  });

  it("to a Cluster is made when its masters are connected, or gone", async () => {
    const { client, connection, greeted } = open(true);
    const [waiting, connecting, gone] = ["wait", "connecting", "connecting"].map((status) => new FakeNode(status));
    client.masters = [waiting!, connecting!, gone!, new FakeNode("ready")];
    client.become("ready");
    await settled();
    expect([waiting!.connects, connecting!.connects, connection.hasConnected()]).to.deep.equal([1, 0, false]);
    waiting!.emit("ready");
    connecting!.emit("ready");
    await settled();
    expect([greeted(), connection.hasConnected()]).to.deep.equal([0, false]);
    gone!.emit("end");
    await settled();
    expect([greeted(), connection.hasConnected()]).to.deep.equal([1, true]);
    for (const node of client.masters) expect(node.eventNames()).to.deep.equal([]);
  });

  it("to a Cluster is not made by one that is closed or lost again meanwhile", async () => {
    for (const end of ["closed", "lost"]) {
      const { client, connection, greeted } = open(true);
      const node = new FakeNode("connecting");
      client.masters = [node];
      client.become("ready");
      if (end === "closed") await connection.close();
      else client.become("close");
      node.emit("ready");
      await settled();
      expect([greeted(), connection.hasConnected()], end).to.deep.equal([0, false]);
    }
  });

  it("to a Cluster that goes on without a node greets the node that took its place, and not before it is made", async () => {
    const { client, connection, greeted } = open(true);
    const node = new FakeNode("ready");
    client.masters = [node];
    client.emit("-node");
    expect(greeted()).to.equal(0);
    client.become("ready");
    await settled();
    client.emit("-node");
    expect([greeted(), node.calls]).to.deep.equal([2, 2]);
    await connection.close();
    client.emit("-node");
    client.emit("ready");
    expect(greeted()).to.equal(2);
    expect(client.eventNames()).to.deep.equal([]);
  });

  it("that is closed before it was made releases its waiters and the process", async () => {
    const { connection } = open(false);
    // Mocha's own timer has begun then.
    await settled();
    const before = timers();
    const waiting = [1, 2].map(() => callWithin(60_000, connection, () => Promise.resolve("an answer")));
    expect(timers()).to.equal(before + 2);
    await connection.close();
    for (const one of await Promise.allSettled(waiting))
      expect(one).to.have.nested.property("reason.kind", "unreachable");
    expect(timers()).to.equal(before);
  });

  it("that is closed before it was made refuses later calls at once", async () => {
    const { connection } = open(false);
    await connection.close();
    const refused = callWithin(600_000, connection, () => Promise.resolve("ran")).catch((error: unknown) => error);
    expect(await refused).to.include({ kind: "unreachable" });
  });

  it("holds a bounded number of calls until it is made, refuses further ones at once, and then holds none", async () => {
    const { client, connection } = open(false);
    await settled();
    const before = timers();
    let running = 0;
    const call = (): Promise<number> => Promise.resolve((running += 1));
    const made = Array.from({ length: 20_000 }, () => callWithin(60_000, connection, call));
    const refused = made.slice(maxWaiting);
    for (const one of await Promise.allSettled(refused))
      expect(one).to.have.nested.property("reason.kind", "overloaded");
    expect([connection.wait?.size, running]).to.deep.equal([maxWaiting, 0]);
    expect(timers()).to.be.at.least(maxWaiting);
    client.become("ready");
    await Promise.all(made.slice(0, maxWaiting));
    await settled();
    expect([connection.wait?.size, running]).to.deep.equal([0, maxWaiting]);
    expect(timers()).to.be.at.most(before);
    expect(await callWithin(60_000, connection, call)).to.equal(maxWaiting + 1);
  });

  it("lets a call that waits too long fail, which is then not sent, and leaves its place", async () => {
    const { client, connection } = open(false);
    let running = 0;
    const call = (): Promise<number> => Promise.resolve((running += 1));
    connection.wait?.failed({ fault: "unreachable", reason: "ECONNREFUSED" });
    const late = callWithin(1, connection, call).catch((error: unknown) => error);
    expect(connection.wait?.size).to.equal(1);
    expect(await late).to.include({ kind: "timeout" });
    client.become("ready");
    await settled();
    expect([connection.wait?.size, running]).to.deep.equal([0, 0]);
  });

  it("begins all calls that wait although one throws", async () => {
    const { client, connection } = open(false);
    const broken = callWithin(60_000, connection, () => {
      throw new Error("not of Redis");
    });
    const other = callWithin(60_000, connection, () => Promise.resolve("an answer"));
    client.become("ready");
    expect(await broken.catch((error: unknown) => error)).to.include({ kind: "unreachable" });
    expect(await other).to.equal("an answer");
  });

  it("that was made keeps the deadline of pending calls when it is closed", async () => {
    const { client, connection } = open(false);
    const answer = openLatch();
    const asked = callWithin(60_000, connection, async () => {
      await answer.wait();
      return "an answer";
    });
    client.become("ready");
    await connection.close();
    answer.open();
    expect(await asked).to.equal("an answer");
  });
});
