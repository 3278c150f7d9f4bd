import { randomUUID } from "node:crypto";
import { expect } from "chai";
import type { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { Channels } from "../../../packages/core/src/store/ports/channels.js";
import type { EventLog, LogPlace, MessageId } from "../../../packages/core/src/store/ports/event-log.js";
import {
  compareIds,
  pageCharacters,
  pageMessages,
  readAnnouncement,
  readId,
  writeId,
} from "../../../packages/core/src/store/ports/event-log.js";
import { until } from "../../support/until.js";

/** A log whose messages end at a time that the test chooses, and the channels on which it announces. */
export interface OpenedEventLog {
  readonly log: EventLog;
  readonly channels: Channels;
  /** Resolves when so much of the store's time has passed. */
  readonly pass: (ms: number) => Promise<void>;
}

/** The place of a log that no other test uses. */
export function newPlace(keys: Keyspace, rest: Partial<LogPlace> = {}): LogPlace {
  const name = randomUUID();
  return {
    key: keys.coordination("event-log", name),
    headKey: keys.coordination("event-log", name, "head"),
    ...{ channel: `app.${name}`, maxLength: 1000, maxAgeMs: 60_000, ...rest },
  };
}

/** All bodies after a message, and the gaps on the way. */
export async function readAll(
  log: EventLog,
  place: LogPlace,
  after: MessageId,
): Promise<{ bodies: (string | undefined)[]; gaps: string[]; pages: number }> {
  const bodies: (string | undefined)[] = [];
  const gaps: string[] = [];
  let last = after;
  for (let pages = 1; ; pages += 1) {
    const page = await log.read(place, last);
    if (page.gap !== undefined) gaps.push(page.gap);
    bodies.push(...page.messages.map(({ body }) => body));
    const end = page.messages.at(-1)?.id;
    if (end === undefined) return { bodies, gaps, pages };
    last = end;
  }
}

/** The contract of {@link EventLog}. */
export function describeEventLog(name: string, open: () => OpenedEventLog, keys: Keyspace): void {
  describe(name, () => {
    async function begin(
      rest: Partial<LogPlace> = {},
    ): Promise<OpenedEventLog & { place: LogPlace; start: MessageId }> {
      const opened = open();
      const place = newPlace(keys, rest);
      const { head } = await opened.log.read(place, undefined);
      if (head === undefined) throw new Error("a log that was looked at has a head");
      return { ...opened, place, start: head };
    }

    it("keeps messages in order under ids that grow, and gives each one after another one", async () => {
      const { log, place, start } = await begin();
      const ids = await Promise.all(Array.from({ length: 50 }, (_, index) => log.append(place, `${index}`)));
      const inOrder = [...ids].sort(compareIds);
      expect(new Set(ids.map(writeId)).size).to.equal(50);
      const { bodies, gaps } = await readAll(log, place, start);
      expect([bodies.length, gaps]).to.deep.equal([50, []]);
      expect(bodies).to.deep.equal(inOrder.map((id) => `${ids.indexOf(id)}`));
      const middle = inOrder[24];
      if (middle === undefined) throw new Error("no id");
      expect((await readAll(log, place, middle)).bodies).to.deep.equal(bodies.slice(25));
      const { messages, head, gap } = await log.read(place, inOrder[49]);
      expect([messages, head, gap]).to.deep.equal([[], inOrder[49], undefined]);
    });

    it("gives ids that are safe in a field of HTTP, and reads its own texts alone", async () => {
      const { log, place } = await begin();
      const text = writeId(await log.append(place, "x"));
      expect(text).to.match(/^[0-9a-f-]{16,64}$/);
      expect(writeId(readId(text) ?? { ms: 0, number: 0, tag: "" })).to.equal(text);
    });

    it("announces each message once, with the one before it", async () => {
      const { log, channels, place, start } = await begin();
      const heard: string[] = [];
      let gaps = 0;
      const stop = channels.subscribe(
        place.channel,
        (message) => heard.push(message),
        () => (gaps += 1),
      );
      await until(() => gaps > 0 && channels.isAlive(1000));
      const bodies = ["first", "", " a b ", "\u0000\r\n\u00e9\u{1f600}", '{"data":1}', "x".repeat(65_536)];
      let before = start;
      const expected: unknown[] = [];
      for (const body of bodies) {
        const id = await log.append(place, body);
        expected.push({ id, previous: before, body });
        before = id;
      }
      await until(() => heard.length >= bodies.length);
      stop();
      expect(heard.map(readAnnouncement)).to.deep.equal(expected);
    });

    it("begins once, also if many look at once, and does not take its begin for a gap", async () => {
      const { log } = open();
      const place = newPlace(keys);
      const heads = await Promise.all(Array.from({ length: 20 }, async () => (await log.read(place, undefined)).head));
      expect(new Set(heads.map((head) => head && writeId(head))).size).to.equal(1);
      const [start] = heads;
      if (start === undefined) throw new Error("no head");
      await log.append(place, "1");
      expect(await readAll(log, place, start)).to.deep.include({ bodies: ["1"], gaps: [] });
    });

    it("gives pages of a bounded number and size, and at least one message each", async () => {
      const { log, place, start } = await begin({ maxLength: 100_000 });
      const count = 2 * pageMessages + 3;
      for (let index = 0; index < count; index += 1) void log.append(place, `${index}`);
      await log.append(place, "end");
      const { bodies, pages } = await readAll(log, place, start);
      expect(bodies).to.have.length(count + 1);
      expect(bodies[count]).to.equal("end");
      expect(pages).to.be.within(3, 5);
      const large = await log.read(place, undefined);
      for (let index = 0; index < 8; index += 1) await log.append(place, "x".repeat(60_000));
      const page = await log.read(place, large.head);
      expect(page.messages.length).to.be.within(1, Math.ceil(pageCharacters / 60_000));
    });

    it("says that messages were trimmed after one that it no longer keeps, and gives the rest", async () => {
      const { log, place, start } = await begin({ maxLength: 100 });
      const ids: MessageId[] = [];
      for (let index = 0; index < 500; index += 1) ids.push(await log.append(place, `${index}`));
      const { bodies, gaps } = await readAll(log, place, start);
      expect(gaps).to.deep.equal(["trimmed"]);
      // About: Redis drops whole nodes of 100 entries.
      expect(bodies.length).to.be.within(100, 300);
      expect(bodies.at(-1)).to.equal("499");
      const last = ids[450];
      if (last === undefined) throw new Error("no id");
      expect(await readAll(log, place, last)).to.deep.include({ gaps: [] });
    });

    it("says that messages are lost after one that it has not had, and gives those that come after it", async () => {
      const { log, place } = await begin();
      const first = await log.append(place, "1");
      const second = await log.append(place, "2");
      const third = await log.append(place, "3");
      const other = "0123456789ab";
      // Another message had the same time and number: the log was lost, and is another one.
      expect(await readAll(log, place, { ...first, tag: other })).to.deep.include({
        gaps: ["lost"],
        bodies: ["2", "3"],
      });
      expect(await readAll(log, place, { ...third, tag: other })).to.deep.include({ gaps: ["lost"], bodies: [] });
      expect(await readAll(log, place, { ...second, ms: second.ms + 3_600_000 })).to.deep.include({
        ...{ gaps: ["lost"], bodies: [] },
      });
      // Of a time before the log began.
      expect(await readAll(log, place, { ms: 0, number: 0, tag: other })).to.deep.include({ gaps: ["lost"] });
      const { gap, head, messages } = await log.read(newPlace(keys), first);
      expect([gap, head, messages]).to.deep.equal(["lost", undefined, []]);
    });

    it("ends messages with their age, and knows afterwards that none is missing after the last one", async () => {
      const { log, pass, place, start } = await begin({ maxAgeMs: 1000 });
      const last = await log.append(place, "1");
      await pass(1100);
      expect(await readAll(log, place, last)).to.deep.include({ gaps: [], bodies: [] });
      expect(await readAll(log, place, start)).to.deep.include({ gaps: ["trimmed"], bodies: [] });
      const next = await log.append(place, "2");
      expect(compareIds(next, last)).to.be.above(0);
      expect((await log.read(place, undefined)).head).to.deep.equal(next);
    });
  });
}
