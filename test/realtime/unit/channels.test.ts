import { expect } from "chai";
import { openGate } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

for (const store of ["memory", "redis"] as const) {
  describe(`channels on ${store}`, () => {
    for (const reliable of [true, false]) {
      it(`bring messages to subscribers${reliable ? ", and resume" : ""}`, async () => {
        const gate = openGate({
          redis: store === "memory" ? "memory" : testRedisUrl(),
          prefix: freshPrefix(),
          deadline: 1000,
        });
        const channel = gate.channels.define("orders", { schema: (value) => value as { n: number }, reliable });
        const got: unknown[] = [];
        const sub = channel.subscribe((data, message) => got.push([data.n, message.topic, message.event, message.own]));
        await sub.ready;
        const id = await channel.publish({ n: 1 }, { topic: "a", event: "paid" });
        await channel.publish({ n: 2 });
        await until(() => got.length === 2);
        expect(got).to.deep.equal([
          [1, "a", "paid", true],
          [2, "", undefined, true],
        ]);
        if (!reliable) return;
        const again: number[] = [];
        const late = channel.subscribe((data) => again.push(data.n), { after: id ?? "" });
        await late.ready;
        expect(again).to.deep.equal([2]);
        sub.stop();
        late.stop();
        const more: number[] = [];
        const third = channel.subscribe((data) => more.push(data.n), { after: id ?? "", onGap: (r) => got.push(r) });
        await third.ready;
        expect(more).to.deep.equal([2]);
        expect(got.length).to.equal(2);
      });
    }
  });
}
