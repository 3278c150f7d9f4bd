import { testAuth } from "@portcullis/testkit";
import { portcullis } from "@portcullis/express";
import type { Channel } from "@portcullis/express";
import { expect } from "chai";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

for (const [store, redis] of [
  ["in process", () => "memory"],
  ["on Redis", testRedisUrl],
] as const) {
  describe(`the resumption of a subscription ${store}`, () => {
    function open(reliable = true): Channel<number> {
      const gate = portcullis({
        redis: redis(),
        prefix: freshPrefix(),
        auth: testAuth,
        logger: silentLogger,
        deadline: 1000,
      });
      cleanUp(() => gate.close());
      return gate.channels.define("numbers", { schema: (value) => value as number, reliable });
    }

    it("knows its position, which moves on with messages for others", async () => {
      const channel = open();
      const subscription = channel.subscribe(() => undefined, { topic: "own" });
      expect(subscription.position).to.equal(undefined);
      await subscription.ready;
      expect(subscription.position).to.be.a("string");
      const id = await channel.publish(1, { topic: "other" });
      await until(() => subscription.position === id);
      subscription.stop();
      expect(subscription.position).to.equal(undefined);
      // Nothing is missed, and nothing comes twice.
      const heard: number[] = [];
      await channel.publish(2, { topic: "other" });
      const next = channel.subscribe((data) => heard.push(data), { after: id });
      await next.ready;
      next.stop();
      expect(heard).to.deep.equal([2]);
    });

    it("has no position on a channel that keeps no messages", async () => {
      const subscription = open(false).subscribe(() => undefined);
      await subscription.ready;
      expect(subscription.position).to.equal(undefined);
      subscription.stop();
    });

    it("brings a page of missed messages only to a listener that is ready, and holds up nobody else", async () => {
      const channel = open();
      const first = channel.subscribe(() => undefined);
      await first.ready;
      const after = first.position;
      first.stop();
      for (let number = 0; number < 600; number += 1) await channel.publish(number);
      let isReady = true;
      const [slow, fast]: [number[], number[]] = [[], []];
      const paused = channel.subscribe(
        (data) => {
          slow.push(data);
          isReady = false;
        },
        { after, isReady: () => isReady },
      );
      const free = channel.subscribe((data) => fast.push(data), { after });
      await free.ready;
      await channel.publish(600);
      await until(() => fast.length === 601);
      expect(slow.length).to.be.within(1, 256);
      expect(paused.position).to.equal(undefined);
      await until(() => {
        isReady = true;
        return slow.length === 601;
      });
      expect(slow).to.deep.equal(Array.from({ length: 601 }, (_, number) => number));
      expect(fast).to.deep.equal(slow);
      await channel.publish(601);
      await until(() => slow.length === 602);
      paused.stop();
      free.stop();
    });
  });
}
