import { expect } from "chai";
import type { Channels } from "../../../packages/core/src/store/ports/channels.js";
import { maxMessageBytes } from "../../../packages/core/src/store/ports/channels.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

export interface Peers {
  /** Channels of two processes that share a store; the same twice where there is one process only. */
  readonly one: Channels;
  readonly other: Channels;
}

/** The contract of every implementation of Channels. */
export function describeChannels(name: string, open: () => Peers): void {
  describe(`${name} keep the contract of channels`, () => {
    let one: Channels;
    let other: Channels;
    const stops: (() => void)[] = [];

    before(() => {
      ({ one, other } = open());
    });
    afterEach(() => {
      for (const stop of stops.splice(0)) stop();
    });

    async function listen(channels: Channels, channel: string): Promise<[message: string, own: boolean][]> {
      const heard: [string, boolean][] = [];
      let gaps = 0;
      stops.push(
        channels.subscribe(
          channel,
          (message, own) => heard.push([message, own]),
          () => (gaps += 1),
        ),
      );
      // In a Cluster there is a gap for each node.
      await until(() => gaps > 0 && channels.isAlive(1000));
      return heard;
    }

    it("bring every message to every process once, and say whose it is", async () => {
      const atOne = await listen(one, "c");
      const atOther = await listen(other, "c");
      const messages = Array.from({ length: 50 }, (_, index) => `message ${index}`);
      await Promise.all(messages.map((message) => one.publish("c", message)));
      await one.publish("c", "end");
      await until(() => atOne.length >= 51 && atOther.length >= 51);
      await new Promise((resolve) => setTimeout(resolve, 50));
      const sorted = [...messages, "end"].sort();
      expect(atOne.map(([message]) => message).sort()).to.deep.equal(sorted);
      expect(atOther.map(([message]) => message).sort()).to.deep.equal(sorted);
      expect(new Set(atOne.map(([, own]) => own))).to.deep.equal(new Set([true]));
      expect(new Set(atOther.map(([, own]) => own))).to.deep.equal(new Set([one === other]));
    });

    it("carry any text up to the longest, and refuse longer ones", async () => {
      const heard = await listen(other, "texts");
      const texts = ["", ":", "1:x:y:z", "\r\n\0", "\u00e9\u{1f600}", "x".repeat(maxMessageBytes)];
      for (const text of texts) await one.publish("texts", text);
      await until(() => heard.length === texts.length);
      expect(heard.map(([message]) => message).sort()).to.deep.equal([...texts].sort());
      const refusal = await rejectionOf(one.publish("texts", "x".repeat(maxMessageBytes + 1)));
      expect(refusal).to.be.instanceOf(RangeError);
    });

    it("keep channels apart, and end with the last who listens", async () => {
      const first = await listen(other, "a");
      const second = await listen(other, "b");
      const both = await listen(other, "a");
      await one.publish("a", "1");
      await until(() => first.length === 1 && both.length === 1);
      for (const stop of stops.splice(0)) stop();
      const again = await listen(other, "b");
      await one.publish("a", "2");
      await one.publish("b", "3");
      await until(() => again.length === 1);
      expect([first.length, second.length, both.length]).to.deep.equal([1, 0, 1]);
    });

    it("have names that are constants of the code", async () => {
      for (const channel of ["", "a b", "*", "a:b", "{x}", "\n"]) {
        expect(() => one.subscribe(channel, () => undefined)).to.throw(TypeError);
        expect(await rejectionOf(one.publish(channel, "x"))).to.be.instanceOf(TypeError);
      }
    });
  });
}
