import { expect } from "chai";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { isClusterNode } from "../../../packages/core/src/store/redis/cluster-nodes.js";

/** A server that says that it is in cluster mode, with this reply to CLUSTER SLOTS. */
function serverWith(slots: unknown): RedisLike {
  return {
    status: "ready",
    call: (command) =>
      command === "INFO"
        ? Promise.resolve("# Cluster\r\ncluster_enabled:1\r\n")
        : slots instanceof Error
          ? Promise.reject(slots)
          : Promise.resolve(slots),
    on: () => undefined,
    off: () => undefined,
  };
}

describe("a server that says that it is in cluster mode", () => {
  it("is a node of a Cluster where it tells of slots and their hosts, or has none yet", async () => {
    for (const slots of [[], [[0, 16_383, ["10.0.0.1", 6379, "id"]]], [[0, 16_383, [Buffer.from("a.b"), 6379, "id"]]]])
      expect(await isClusterNode(serverWith(slots)), JSON.stringify(slots)).to.equal(true);
  });

  it("is taken for a single server where a client of a Cluster could not work", async () => {
    const refusals = [new Error("ERR unknown command 'CLUSTER'"), new Error("NOPERM no permissions"), null, "OK"];
    const unnamed = ["", "?", null].map((host) => [[0, 16_383, [host, 6379, "id"]]]);
    for (const slots of [...refusals, ...unnamed])
      expect(await isClusterNode(serverWith(slots)), String(slots)).to.equal(false);
  });
});
