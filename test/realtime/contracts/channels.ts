import { randomUUID } from "node:crypto";
import type {
  Channel,
  ChannelMessage,
  ChannelOptions,
  GateChannels,
  SubscribeOptions,
  Subscription,
} from "@portcullis/core";
import { expect } from "chai";
import { isRejected, rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

/** The channels of two gates of one service; the same twice in process. */
export interface ChannelPeers {
  readonly one: GateChannels;
  readonly other: GateChannels;
}

export interface Order {
  readonly n: number;
}

/** Takes `{ n }` with a number, and nothing else. */
export function orderSchema(value: unknown): Order {
  const { n } = (value ?? {}) as { n?: unknown };
  if (typeof n !== "number") throw new TypeError("no order");
  return { n };
}

/** Everything that a subscription has been told. */
export interface Heard {
  readonly numbers: number[];
  readonly messages: ChannelMessage[];
  readonly gaps: string[];
  readonly subscription: Subscription;
}

export async function listen(channel: Channel<Order>, options: SubscribeOptions = {}): Promise<Heard> {
  const heard = subscribe(channel, options);
  await heard.subscription.ready;
  return heard;
}

export function subscribe(channel: Channel<Order>, options: SubscribeOptions = {}): Heard {
  const [numbers, messages, gaps]: [number[], ChannelMessage[], string[]] = [[], [], []];
  const subscription = channel.subscribe(
    ({ n }, message) => {
      numbers.push(n);
      messages.push(message);
    },
    { onGap: (reason) => gaps.push(reason), ...options },
  );
  return { numbers, messages, gaps, subscription };
}

/** The contract of channels of the application. */
export function describeGateChannels(name: string, open: () => ChannelPeers): void {
  describe(name, () => {
    let peers: ChannelPeers;
    before(() => (peers = open()));

    /** One channel at both gates. */
    function define(options: Partial<ChannelOptions<Order>> = {}): [one: Channel<Order>, other: Channel<Order>] {
      const channelName = randomUUID();
      const one = peers.one.define(channelName, { schema: orderSchema, ...options });
      return [
        one,
        peers.one === peers.other ? one : peers.other.define(channelName, { schema: orderSchema, ...options }),
      ];
    }

    const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

    for (const reliable of [false, true]) {
      describe(reliable ? "that are reliable" : "that keep nothing", () => {
        it("bring each message to every subscriber of every process once", async () => {
          const [one, other] = define({ reliable });
          const all = [await listen(one), await listen(one), await listen(other)];
          for (const n of range(20))
            expect(typeof (await one.publish({ n }))).to.equal(reliable ? "string" : "undefined");
          await until(() => all.every(({ numbers }) => numbers.length >= 20));
          // In a Cluster, messages that are not kept come in no certain order.
          const inOrder = (numbers: number[]): number[] => (reliable ? numbers : numbers.sort((a, b) => a - b));
          for (const { numbers, gaps } of all) expect([inOrder(numbers), gaps]).to.deep.equal([range(20), []]);
          const [mine, , theirs] = all;
          expect(mine?.messages.every(({ own }) => own)).to.equal(true);
          expect(theirs?.messages.every(({ own }) => own)).to.equal(one === other);
        });

        it("bring a subscriber the topics it wants, and say topic and event", async () => {
          const [one, other] = define({ reliable });
          const [all, a, ab] = [
            await listen(other),
            await listen(other, { topic: "a" }),
            await listen(other, { topic: ["a", "b"] }),
          ];
          const sent = [{ topic: "a", event: "paid" }, { topic: "b" }, {}, { topic: "__proto__", event: "x.y:z" }];
          for (const [index, options] of sent.entries()) {
            await one.publish({ n: index + 1 }, options);
            await until(() => all.numbers.length === index + 1);
          }
          expect([all.numbers, a.numbers, ab.numbers]).to.deep.equal([[1, 2, 3, 4], [1], [1, 2]]);
          const said = all.messages.map(({ topic, event }) => [topic, event]);
          expect(said).to.deep.equal([
            ["a", "paid"],
            ["b", undefined],
            ["", undefined],
            ["__proto__", "x.y:z"],
          ]);
          for (const { id } of all.messages) expect(id === undefined).to.equal(!reliable);
        });

        it("end a subscription by stop(), by its signal, and at once within a listener", async () => {
          const [one] = define({ reliable });
          const controller = new AbortController();
          const [stopped, aborted, kept] = [
            await listen(one),
            await listen(one, { signal: controller.signal }),
            await listen(one),
          ];
          const mutual: Subscription[] = [];
          let calls = 0;
          for (let index = 0; index < 2; index += 1) {
            // Each stops both: only one of them is called.
            const listener = (): void => {
              calls += 1;
              for (const subscription of mutual) subscription.stop();
            };
            mutual.push(one.subscribe(listener));
          }
          await Promise.all(mutual.map(({ ready }) => ready));
          stopped.subscription.stop();
          stopped.subscription.stop();
          controller.abort();
          await one.publish({ n: 1 });
          await one.publish({ n: 2 });
          await until(() => kept.numbers.length === 2);
          expect([stopped.numbers, aborted.numbers, calls]).to.deep.equal([[], [], 1]);
          const late = one.subscribe(() => (calls += 1), { signal: controller.signal });
          await late.ready;
          await one.publish({ n: 3 });
          await until(() => kept.numbers.length === 3);
          expect(calls).to.equal(1);
        });

        it("bring a subscription that is made in a listener the messages after it alone", async () => {
          const [one] = define({ reliable });
          const inner: number[] = [];
          let made: Subscription | undefined;
          const outer = one.subscribe(() => {
            made ??= one.subscribe(({ n }) => inner.push(n));
          });
          await outer.ready;
          await one.publish({ n: 1 });
          await until(() => made !== undefined);
          await made?.ready;
          await one.publish({ n: 2 });
          await until(() => inner.length > 0);
          expect(inner).to.deep.equal([2]);
        });

        it("survive listeners that throw and reject, and let none of them change a payload for the others", async () => {
          const channelName = randomUUID();
          const one = peers.one.define(channelName, { schema: (value) => value as { list: number[] }, reliable });
          const subscriptions = [
            one.subscribe(() => {
              throw new Error("a bug of the application");
            }),
            one.subscribe(async () => {
              await Promise.reject(new Error("another one"));
            }),
            one.subscribe(({ list }) => list.push(4)),
          ];
          const heard: unknown[] = [];
          const last = one.subscribe((data, message) => heard.push([data, message]));
          await Promise.all([...subscriptions, last].map(({ ready }) => ready));
          await one.publish({ list: [1, 2, 3] });
          await one.publish({ list: [] });
          await until(() => heard.length === 2);
          expect(heard.map((one) => (one as unknown[])[0])).to.deep.equal([{ list: [1, 2, 3] }, { list: [] }]);
        });

        it("send what the schema returns, and ignore a message that the schema of the receiver refuses", async () => {
          const channelName = randomUUID();
          const strict = (value: unknown): Order => {
            const order = orderSchema(value);
            if (order.n > 10) throw new RangeError("too many");
            return order;
          };
          const other = peers.other.define(channelName, { schema: strict, reliable });
          const one =
            peers.one === peers.other ? other : peers.one.define(channelName, { schema: orderSchema, reliable });
          const heard = await listen(other);
          await one.publish({ n: 1, secret: "not sent" } as Order);
          if (one !== other) await one.publish({ n: 11 });
          await one.publish({ n: 2 });
          await until(() => heard.numbers.length === 2);
          expect(heard.numbers).to.deep.equal([1, 2]);
          expect(await rejectionOf(one.publish({ n: "x" } as unknown as Order))).to.be.instanceOf(TypeError);
        });

        it("refuse at once what cannot be sent, and carry what can up to 64 KiB", async () => {
          const channelName = randomUUID();
          const one = peers.one.define(channelName, { schema: (value) => value, reliable });
          const heard: unknown[] = [];
          await one.subscribe((data) => heard.push(data)).ready;
          const largest = "x".repeat(65_534);
          const good = [null, 0, "", "\u0000\r\n\u2028\u{1f600}", { ["__proto__"]: 1 }, [[[]]], largest];
          for (const data of good) await one.publish(data, { topic: "t".repeat(200), event: "e".repeat(64) });
          await until(() => heard.length === good.length);
          expect(JSON.stringify(heard)).to.equal(JSON.stringify(good));
          expect(await rejectionOf(one.publish(`${largest}x`))).to.be.instanceOf(RangeError);
          for (const data of [undefined, 1n, Number.NaN, new Map(), () => 1, Promise.resolve(1)])
            expect(await rejectionOf(one.publish(data))).to.be.instanceOf(TypeError);
          for (const topic of ["", "x".repeat(201), "\ud800", 7, null])
            expect(await isRejected(one.publish(1, { topic: topic as string })), String(topic)).to.equal(true);
          for (const event of ["", "a b", "a\nb", "x".repeat(65), 7, null])
            expect(await isRejected(one.publish(1, { event: event as string })), String(event)).to.equal(true);
        });
      });
    }

    describe("that are reliable", () => {
      it("resume at every process after every message, in order and without a gap", async () => {
        const [one, other] = define({ reliable: true });
        const start = await one.lastId();
        const ids = [start];
        for (const n of range(40)) ids.push((await (n % 2 === 0 ? one : other).publish({ n })) ?? "");
        for (const channel of [one, other]) {
          for (const after of [0, 1, 20, 39, 40]) {
            const { numbers, gaps } = await listen(channel, { after: ids[after] });
            expect([numbers, gaps]).to.deep.equal([range(40).slice(after), []]);
          }
          const storm = await Promise.all(ids.map((after) => listen(channel, { after })));
          for (const [index, { numbers, gaps }] of storm.entries())
            expect([numbers, gaps]).to.deep.equal([range(40).slice(index), []]);
        }
      });

      it("go on after a resume with the messages that come, each once, while others are published", async () => {
        const [one, other] = define({ reliable: true });
        const start = await one.lastId();
        const count = 600;
        const publishing = (async () => {
          for (const n of range(count)) await one.publish({ n });
        })();
        const heard: Heard[] = [];
        for (let index = 0; index < 10; index += 1) {
          heard.push(await listen(other, { after: start }), await listen(one, { after: start }));
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
        await publishing;
        await until(() => heard.every(({ numbers }) => numbers.length >= count));
        for (const { numbers, gaps } of heard) expect([numbers, gaps]).to.deep.equal([range(count), []]);
      });

      it("report one gap after an id that they do not know, whatever a client sends, and go on", async () => {
        const [one, other] = define({ reliable: true });
        const id = (await one.publish({ n: 1 })) ?? "";
        await one.publish({ n: 2 });
        const [ms = "0", number = "0", tag = ""] = id.split("-");
        const unknown = [
          ...["", " ", "x", "0", "-", "$", "*", "(1-1", "1-1", "null", "__proto__", "9".repeat(10_000), "\u0000\r\n"],
          ...[
            `${id} `,
            `${id}0`,
            id.toUpperCase() === id ? `${id}x` : id.toUpperCase(),
            `${ms}-${number}-${"0".repeat(12)}`,
          ],
          ...[`${Number(ms) + 1_000_000}-0-${tag}`, `999999999999999-999999999999999-${tag}`, `0-0-${tag}`],
        ];
        for (const after of unknown) {
          const { numbers, gaps, subscription } = await listen(other, { after });
          expect(gaps, JSON.stringify(after)).to.have.length(1);
          expect(gaps[0]).to.be.oneOf(["lost", "trimmed"]);
          const before = numbers.length;
          await one.publish({ n: 3 });
          await until(() => numbers.length === before + 1);
          subscription.stop();
          expect(gaps).to.have.length(1);
        }
      });

      it("keep about so many messages, and report a gap to a resume after one that was trimmed", async () => {
        const [one, other] = define({ reliable: true, maxLength: 100 });
        const first = await one.publish({ n: -1 });
        for (let index = 0; index < 10; index += 1)
          await Promise.all(range(50).map((n) => one.publish({ n: index * 50 + n })));
        const { numbers, gaps } = await listen(other, { after: first });
        expect(gaps).to.deep.equal(["trimmed"]);
        expect(numbers.length).to.be.within(100, 300);
        expect(numbers).to.deep.equal(range(500).slice(-numbers.length));
      });
    });
  });
}
