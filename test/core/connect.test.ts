import { EventEmitter } from "node:events";
import { expect } from "chai";
import { connect } from "../../packages/core/src/store/redis/connect.js";
import { silentLogger } from "../support/logger.js";

/** A user's client that does as the test says. */
class FakeClient extends EventEmitter {
  readonly sent: string[][] = [];
  readonly isCluster: boolean;
  status = "connecting";

  constructor(isCluster: boolean) {
    super();
    this.isCluster = isCluster;
  }

  call(...words: (string | number)[]): Promise<unknown> {
    this.sent.push(words.map(String));
    return Promise.resolve("OK");
  }
}

function open(isCluster: boolean) {
  const client = new FakeClient(isCluster);
  const scripts = [{ source: "return 1", sha1: "d" }];
  const connection = connect({ redis: client, deadlineMs: 50, logger: silentLogger, scripts });
  let greeted = 0;
  connection.onConnect(() => (greeted += 1));
  return { client, connection, greeted: () => greeted };
}

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

  it("to a Cluster that goes on without a node greets whoever took its place, and not before it is made", async () => {
    const { client, connection, greeted } = open(true);
    client.emit("-node");
    expect(greeted()).to.equal(0);
    client.emit("ready");
    client.emit("-node");
    expect([greeted(), client.sent.length]).to.deep.equal([2, 2]);
    await connection.close();
    client.emit("-node");
    client.emit("ready");
    expect(greeted()).to.equal(2);
    expect(client.eventNames()).to.deep.equal([]);
  });
});
