import { startCluster } from "@portcullis/testkit";
import { expect } from "chai";
import { Cluster } from "ioredis";
import { LRUCache } from "lru-cache";
import { Socket } from "node:net";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { MemoryDecisionStore } from "../../../packages/core/src/store/memory/decisions.js";
import { decideAcrossSlots } from "../../../packages/core/src/store/redis/cluster.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";
import { cork } from "../../../packages/core/src/store/redis/client.js";
import { freshPrefix } from "../../support/redis.js";

type Write = (this: Socket, ...words: never[]) => void;
const prototype = Socket.prototype as unknown as Record<"_write" | "_writev", Write>;

describe("a flush to a Cluster", function () {
  this.timeout(60_000);
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });

  it("is one write for each master, however many slots and records it asks for", async () => {
    const cluster = await startCluster({ masters: 3 });
    cleanUp.push(() => cluster.stop());
    const client = new Cluster([...cluster.seeds]);
    cleanUp.push(() => client.disconnect());
    const keys = new Keyspace(freshPrefix(), "test");
    const ask = (round: string) =>
      Array.from({ length: 40 }, (_, index) => ({
        beforeToken: [{ key: keys.quota("ip", `ip-${index}`), limit: 10, windowSeconds: 60, cost: 1 }],
        token: { revokedKey: keys.revokedToken(`t-${index}`), cutoffKeys: [keys.subjectCutoff("alice")], issuedAt: 1 },
        replayCheck: { key: keys.proof("thumbprint", `${round}-${index}`), ttlMs: 60_000 },
        afterToken: [{ key: keys.quota("user", `user-${index}`), limit: 10, windowSeconds: 60, cost: 1 }],
      }));
    const terms = {
      partMs: 5000,
      quotas: new MemoryDecisionStore().corrections,
      revokedKeys: new LRUCache<string, true>({ max: 9 }),
    };
    // Scripts are known and all connections made.
    await decideAcrossSlots(client, ask("first"), terms);

    const ports = new Set(cluster.seeds.map(({ port }) => port));
    let writes = 0;
    const originals = { ...prototype, _write: prototype._write, _writev: prototype._writev };
    for (const name of ["_write", "_writev"] as const)
      prototype[name] = function count(...words) {
        if (ports.has(this.remotePort ?? 0)) writes += 1;
        originals[name].apply(this, words);
      };
    cleanUp.push(() => Object.assign(prototype, { _write: originals._write, _writev: originals._writev }));
    const { answers } = await decideAcrossSlots(client, ask("second"), terms);
    expect(answers.every(({ revoked }) => revoked === false)).to.equal(true);
    expect(writes).to.be.at.most(3);
  });

  it("holds back nothing of a client that has no nodes, or no sockets yet", () => {
    cork({ call: () => Promise.resolve() } as unknown as RedisLike).release();
    cork({ nodes: () => [{}, { stream: undefined }] } as unknown as RedisLike).release();
  });
});
