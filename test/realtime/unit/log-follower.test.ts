import { expect } from "chai";
import fc from "fast-check";
import { resolveSubscribe } from "../../../packages/core/src/realtime/channel-options.js";
import { LogFollower } from "../../../packages/core/src/realtime/log-follower.js";
import { MessageReader, Subscriber } from "../../../packages/core/src/realtime/subscribers.js";
import { MemoryChannels } from "../../../packages/core/src/store/memory/channels.js";
import { MemoryEventLog } from "../../../packages/core/src/store/memory/event-log.js";
import type { ChannelListener, Channels } from "../../../packages/core/src/store/ports/channels.js";
import type { EventLog, LogPage, LogPlace, MessageId } from "../../../packages/core/src/store/ports/event-log.js";
import { pageMessages, writeId } from "../../../packages/core/src/store/ports/event-log.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";

const place: LogPlace = { key: "log", headKey: "head", channel: "app.c", maxLength: 12, maxAgeMs: 3_600_000 };

type Fate = "pass" | "drop" | "twice" | "late";

/** Channels that lose, repeat and delay messages as they are told. */
class BadChannels implements Channels {
  fate: Fate = "pass";
  readonly late: (() => void)[] = [];
  readonly #inner = new MemoryChannels();

  publish(channel: string, message: string): Promise<void> {
    return this.#inner.publish(channel, message);
  }

  subscribe(channel: string, listener: ChannelListener, onGap?: () => void): () => void {
    const stop = this.#inner.subscribe(
      channel,
      (message, own) => {
        if (this.fate === "late") this.late.push(() => listener(message, own));
        else if (this.fate !== "drop") listener(message, own);
        if (this.fate === "twice") listener(message, own);
      },
      onGap,
    );
    return stop;
  }

  isAlive(): boolean {
    return true;
  }
}

/** A log that can be emptied, and whose reads can fail. */
class BadLog implements EventLog {
  readonly breakers = [];
  failures = 0;
  reads = 0;
  /** Called between the answer of the log and its arrival. */
  onAnswer: (() => Promise<void>) | undefined;
  readonly #channels: Channels;
  #inner: EventLog;

  constructor(channels: Channels) {
    this.#channels = channels;
    this.#inner = new MemoryEventLog({ channels });
  }

  append(where: LogPlace, body: string): Promise<MessageId> {
    return this.#inner.append(where, body);
  }

  async read(where: LogPlace, after: MessageId | undefined): Promise<LogPage> {
    this.reads += 1;
    await turn();
    if (this.failures > 0) {
      this.failures -= 1;
      throw new StoreFault("timeout");
    }
    const page = await this.#inner.read(where, after);
    await this.onAnswer?.();
    return page;
  }

  empty(): void {
    this.#inner = new MemoryEventLog({ channels: this.#channels });
  }
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A subscription of the model: what it was told, in order. */
interface Listener {
  readonly subscriber: Subscriber<number>;
  /** The number of the message that it resumed after; undefined from now on. */
  readonly after: number | undefined;
  readonly told: (number | "gap")[];
  stopped: boolean;
}

type Step =
  | { readonly do: "publish"; readonly fate: Fate; readonly count: number }
  | { readonly do: "subscribe"; readonly back: number | undefined }
  | { readonly do: "stop"; readonly which: number }
  | { readonly do: "fail"; readonly count: number }
  | { readonly do: "deliver" | "empty" | "tick" | "wait" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("publish" as const),
    fate: fc.constantFrom<Fate>("pass", "pass", "drop", "twice", "late"),
    count: fc.integer({ min: 1, max: 5 }),
  }),
  fc.record({
    do: fc.constant("subscribe" as const),
    back: fc.option(fc.integer({ min: 0, max: 20 }), { nil: undefined }),
  }),
  fc.record({ do: fc.constant("stop" as const), which: fc.nat(10) }),
  fc.record({ do: fc.constant("fail" as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constantFrom("deliver" as const, "empty" as const, "tick" as const, "wait" as const) }),
);

describe("the log follower", function () {
  this.timeout(60_000);

  it("delivers each message once and in order, and no message is missing without a gap, whatever fails", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        const channels = new BadChannels();
        const log = new BadLog(channels);
        const telemetry = new Telemetry();
        const reader = new MessageReader((value) => value as number, telemetry);
        const follower = new LogFollower({ place, channel: place.channel, channels, log, reader, telemetry });
        const listeners: Listener[] = [];
        const ids: string[] = [];
        /** The last message that the log certainly has lost. */
        let lost = -1;

        function subscribe(back: number | undefined): void {
          const at = back === undefined ? -1 : ids.length - 1 - back;
          const after = at < 0 ? undefined : at;
          const told: (number | "gap")[] = [];
          const options = resolveSubscribe(
            () => undefined,
            { after: after === undefined ? undefined : ids[after], onGap: () => told.push("gap") },
            true,
          );
          const subscriber = new Subscriber<number>((n) => told.push(n), options, silentLogger);
          listeners.push({ subscriber, after, told, stopped: false });
          follower.add(subscriber);
          expect(told, "nobody is called within subscribe()").to.deep.equal([]);
        }

        for (const one of steps) {
          if (one.do === "publish") {
            for (let index = 0; index < one.count; index += 1) {
              channels.fate = one.fate;
              ids.push(writeId(await log.append(place, JSON.stringify({ data: ids.length }))));
              await turn();
            }
          } else if (one.do === "subscribe") subscribe(one.back);
          else if (one.do === "stop") {
            const listener = listeners[one.which];
            if (listener === undefined || listener.stopped) continue;
            listener.stopped = true;
            listener.subscriber.end();
            follower.delete(listener.subscriber);
          } else if (one.do === "fail") log.failures = one.count;
          else if (one.do === "deliver") for (const deliver of channels.late.splice(0)) deliver();
          else if (one.do === "empty") {
            log.empty();
            lost = ids.length - 1;
          } else if (one.do === "tick") follower.tick();
          else await turn();
        }

        // Everything is well again, and they have looked.
        channels.fate = "pass";
        log.failures = 0;
        for (let index = 0; index < 12; index += 1) {
          follower.tick();
          for (let turns = 0; turns < 8; turns += 1) await turn();
        }
        const readsBefore = log.reads;
        for (let turns = 0; turns < 20; turns += 1) await turn();
        expect(log.reads, "nothing is read while nothing happens").to.equal(readsBefore);
        for (const { after, told, stopped, subscriber } of listeners) {
          let last = after;
          for (const one of told) {
            if (one === "gap") {
              last = undefined;
              continue;
            }
            if (last !== undefined) expect(one, `after ${last} of ${told.join(" ")}`).to.equal(last + 1);
            last = one;
          }
          const numbers = told.filter((one) => one !== "gap");
          expect(numbers).to.deep.equal([...new Set(numbers)].sort((a, b) => a - b));
          if (stopped) continue;
          await subscriber.ready;
          const final = ids.length - 1;
          // A log that was emptied cannot bring its messages; then there is a gap.
          if (last !== undefined && final > lost) expect(last).to.equal(final);
          else if (last !== undefined) expect(last === final || told.at(-1) === "gap").to.equal(true);
        }
        for (const { subscriber } of listeners) follower.delete(subscriber);
        expect(follower.size).to.equal(0);
      }),
      { numRuns: 150 },
    );
  });

  it("reads once for all subscribers that resume together, and not at all for what it has in memory", async () => {
    const channels = new MemoryChannels();
    const log = new BadLog(channels);
    const telemetry = new Telemetry();
    const reader = new MessageReader((value) => value as number, telemetry);
    const wide = { ...place, maxLength: 1000 };
    const follower = new LogFollower({ place: wide, channel: wide.channel, channels, log, reader, telemetry });
    const ids: string[] = [];
    for (let n = 0; n < 200; n += 1) ids.push(writeId(await log.append(wide, JSON.stringify({ data: n }))));

    async function storm(): Promise<void> {
      const counts = new Map<number, number>();
      const subscribers = Array.from({ length: 1000 }, (_, index) => {
        const at = index % 200;
        const options = resolveSubscribe(() => undefined, { after: ids[at] }, true);
        return new Subscriber<number>(() => counts.set(index, (counts.get(index) ?? 0) + 1), options, silentLogger);
      });
      for (const subscriber of subscribers) follower.add(subscriber);
      await Promise.all(subscribers.map(async ({ ready }) => ready));
      for (let index = 0; index < 1000; index += 1) expect(counts.get(index) ?? 0).to.equal(199 - (index % 200));
    }

    await storm();
    // The head, one page for everybody, and a look after the begin of the subscription.
    expect(log.reads).to.be.at.most(4);
    const before = log.reads;
    await storm();
    expect(log.reads).to.equal(before);
  });

  it("brings every message to each that resumes, wherever the pages end that it shares with others", async () => {
    const channels = new MemoryChannels();
    const log = new BadLog(channels);
    const telemetry = new Telemetry();
    const reader = new MessageReader((value) => value as number, telemetry);
    const wide = { ...place, maxLength: 10_000 };
    const follower = new LogFollower({ place: wide, channel: wide.channel, channels, log, reader, telemetry });
    const ids: string[] = [];
    const total = 5 * pageMessages;
    for (let n = 0; n < total; n += 1) ids.push(writeId(await log.append(wide, JSON.stringify({ data: n }))));
    // More than are served together, and one at each end of a page of the first one.
    const places = [
      ...Array.from({ length: 300 }, (_, index) => index),
      ...[pageMessages - 1, pageMessages, pageMessages + 1, 2 * pageMessages, total - 2, total - 1],
    ];
    const heard = places.map((at) => ({ at, numbers: new Array<number>() }));
    const subscribers = heard.map(({ at, numbers }) => {
      const options = resolveSubscribe(() => undefined, { after: ids[at] }, true);
      return new Subscriber<number>((n) => numbers.push(n), options, silentLogger);
    });
    for (const subscriber of subscribers) follower.add(subscriber);
    await Promise.all(subscribers.map(async ({ ready }) => ready));
    for (const { at, numbers } of heard)
      expect(numbers, `after ${at}`).to.deep.equal(
        Array.from({ length: total - 1 - at }, (_, index) => at + 1 + index),
      );
  });

  it("loses no message for one that resumes after the end of the log while the next message comes", async () => {
    const channels = new BadChannels();
    const log = new BadLog(channels);
    const telemetry = new Telemetry();
    const reader = new MessageReader((value) => value as number, telemetry);
    const follower = new LogFollower({ place, channel: place.channel, channels, log, reader, telemetry });
    const append = async (n: number): Promise<string> => writeId(await log.append(place, JSON.stringify({ data: n })));
    const first = new Subscriber<number>(
      () => undefined,
      resolveSubscribe(() => undefined, {}, true),
      silentLogger,
    );
    follower.add(first);
    await first.ready;
    for (let turns = 0; turns < 8; turns += 1) await turn();
    // The client has got a message from a process that is ahead of this one.
    channels.fate = "late";
    const after = await append(0);
    const numbers: number[] = [];
    const options = resolveSubscribe(() => undefined, { after }, true);
    const subscriber = new Subscriber<number>((n) => numbers.push(n), options, silentLogger);
    log.onAnswer = async () => {
      log.onAnswer = undefined;
      await append(1);
      for (const deliver of channels.late.splice(0)) deliver();
      channels.fate = "pass";
    };
    follower.add(subscriber);
    await subscriber.ready;
    expect(numbers).to.deep.equal([1]);
    for (const one of [first, subscriber]) follower.delete(one);
  });
});
