import { expect } from "chai";
import { Cluster, Redis } from "ioredis";
import { Cluster as Cluster5, Redis as Redis5 } from "ioredis5";
import type { RedisLike } from "@portcullis/core";
import { decideBatch } from "../../../packages/core/src/store/redis/decide-batch.js";
import { readsBytes, sendLong } from "../../../packages/core/src/store/redis/client.js";
import { decideScript } from "../../../packages/core/src/store/redis/scripts/decide.js";
import { defineScript } from "../../../packages/core/src/store/redis/scripts/lua.js";
import { cleanUp } from "../../support/clean-up.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";

const nodes = [{ host: "127.0.0.1", port: 1 }];
const lazy = { lazyConnect: true };

describe("the reply of a script as bytes", () => {
  const makers = {
    "ioredis 6": () => new Redis(lazy),
    "ioredis 5": () => new Redis5(lazy),
    "a Cluster of ioredis 6": () => new Cluster(nodes, lazy),
    "a Cluster of ioredis 5": () => new Cluster5(nodes, lazy),
    "a subclass": () => new (class extends Redis {})(lazy),
  };
  for (const [name, make] of Object.entries(makers)) {
    it(`is asked of the client as it is, and not once the application has replaced its call: ${name}`, () => {
      const client = make();
      cleanUp(() => client.disconnect());
      expect(readsBytes(client)).to.equal(true);
      const bind = (target: object, key: string): unknown => (Reflect.get(target, key) as () => void).bind(target);
      expect(readsBytes(new Proxy<RedisLike>(client, { get: bind }))).to.equal(false);
      expect(readsBytes(client)).to.equal(true);
      client.call = client.call.bind(client);
      expect(readsBytes(client)).to.equal(false);
      const sent: string[] = [];
      client.call = ((command: string) => Promise.resolve(void sent.push(command))) as typeof client.call;
      for (const command of ["mget", "evalsha", "eval"] as const) void sendLong(client, command, ["a"], "text");
      expect(sent).to.deep.equal(["MGET", "EVALSHA", "EVAL"]);
    });
  }

  it("answers any words, as they were sent", async () => {
    const plain = ["", "a", " ", "\r\n", "$1\r\n", "\0", "x".repeat(255), "x".repeat(256), "x".repeat(70_000)];
    const others = ["\u0080", "\u00e9", "\u{1f600}", "\ufffd", "\u00e9".repeat(300)];
    const client = operate(testRedisUrl());
    for (const words of [plain, others, [...plain, ...others], Array.from({ length: 999 }, String)])
      for (const reads of ["text", "bytes"] as const) {
        const reply = (await sendLong(client, "eval", ["return ARGV", "0", ...words], reads)) as (string | Buffer)[];
        expect(reply.map(String)).to.deep.equal(words);
      }
  });

  it("is a list where the server has no struct, and counts once", async () => {
    const script = defineScript(`local struct = nil\n${decideScript.source}`);
    const key = `${freshPrefix()}a`;
    const question = {
      beforeToken: [{ key, limit: 9, cost: 1, windowSeconds: 60 }],
      token: undefined,
      afterToken: [],
    };
    const client = operate(testRedisUrl());
    const { answers } = await decideBatch(client, [question], { script });
    expect(answers[0]?.beforeToken[0]).to.include({ consumed: 1 });
    expect(await client.get(key)).to.equal("1");
  });
});
