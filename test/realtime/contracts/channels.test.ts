import { startCluster, startRedis, startSentinel } from "@portcullis/testkit";
import { createGate } from "../../../packages/core/src/gate.js";
import type { RedisTarget } from "@portcullis/core";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";
import { describeGateChannels } from "./channels.js";
import type { ChannelPeers } from "./channels.js";

describe("channels of the application", function () {
  this.timeout(60_000);
  const cleanUp: (() => unknown)[] = [];
  after(async () => {
    for (const clean of cleanUp.reverse()) await clean();
  });
  const prefix = freshPrefix();

  function open(redis: RedisTarget): ChannelPeers["one"] {
    const gate = createGate({ redis, prefix, service: "shop", deadline: 2000, logger: silentLogger }, (check) => check);
    cleanUp.push(() => gate.close());
    return gate.channels;
  }

  describe("in process", () => {
    describeGateChannels("channels in process", () => {
      const channels = open("memory");
      return { one: channels, other: channels };
    });
  });

  const topologies: Readonly<Record<string, () => Promise<RedisTarget>>> = {
    async "one Redis"() {
      const server = await startRedis();
      cleanUp.push(() => server.stop());
      return server.url;
    },
    async "Redis Cluster"() {
      const cluster = await startCluster({ masters: 3 });
      cleanUp.push(() => cluster.stop());
      return { cluster: cluster.seeds };
    },
    async Sentinel() {
      const group = await startSentinel();
      cleanUp.push(() => group.stop());
      return { sentinels: group.sentinels, name: group.name };
    },
  };
  for (const [name, start] of Object.entries(topologies)) {
    describe(`on ${name}`, () => {
      let redis: RedisTarget;
      before(async () => {
        redis = await start();
      });
      describeGateChannels(`channels on ${name}`, () => ({ one: open(redis), other: open(redis) }));
    });
  }
});
