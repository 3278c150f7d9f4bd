import type { BreakerControl } from "../../lib/breaker.js";
import { Breaker } from "../../lib/breaker.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import type { EventLog, LogPage, LogPlace, LoggedMessage, MessageId } from "../ports/event-log.js";
import { gapAfter, headMs, newTag, pageCharacters, pageMessages, readId } from "../ports/event-log.js";
import type { RedisChannels } from "./channels.js";
import type { Connection } from "./connect.js";
import { readFlag, readInteger, readList, readText, unreadable } from "./replies.js";
import { ScriptClient } from "./script-client.js";
import { appendEventScript, beginLogScript, readEventsScript } from "./scripts/event-log.js";

export interface RedisEventLogOptions {
  readonly connection: Connection;
  readonly channels: RedisChannels;
  readonly deadlineMs: number;
  readonly telemetry?: Telemetry | undefined;
}

/** Minimum deadline of a reading: nobody waits for it, and a page may be large. */
const readDeadlineMs = 1000;

/** Logs in Redis streams. Each call is one script, in one hash slot. */
export class RedisEventLog implements EventLog {
  readonly #channels: RedisChannels;
  readonly #breaker: Breaker;
  readonly #appends: ScriptClient;
  readonly #reads: ScriptClient;
  /** This process, in the entries that it has appended. */
  readonly #origin: string = newTag();
  readonly #stop: () => void;

  constructor({ connection, channels, deadlineMs, telemetry }: RedisEventLogOptions) {
    this.#channels = channels;
    this.#breaker = new Breaker({ name: "redis.event-log", telemetry });
    const common = { connection, breaker: this.#breaker, part: "event-log" } as const;
    this.#appends = new ScriptClient({ ...common, deadlineMs });
    this.#reads = new ScriptClient({ ...common, deadlineMs: Math.max(deadlineMs, readDeadlineMs) });
    this.#stop = connection.onConnect(() => this.#breaker.allowProbe());
  }

  get breakers(): readonly BreakerControl[] {
    return [this.#breaker];
  }

  append({ key, headKey, channel, maxLength, maxAgeMs }: LogPlace, body: string): Promise<MessageId> {
    const announced = [this.#channels.nameOf(channel), this.#channels.seal("")];
    const args = [newTag(), this.#origin, body, maxLength, maxAgeMs, lifeOfHead(maxAgeMs), ...announced];
    return this.#appends.run(appendEventScript, [2, key, headKey, ...args], readIdReply);
  }

  async read(place: LogPlace, after: MessageId | undefined): Promise<LogPage> {
    const { key, headKey, maxLength, maxAgeMs } = place;
    if (after === undefined) {
      const args = [newTag(), this.#origin, maxLength, maxAgeMs, lifeOfHead(maxAgeMs)];
      const head = await this.#reads.run(beginLogScript, [2, key, headKey, ...args], readIdReply);
      return { messages: [], head, gap: undefined };
    }
    const args = [`${after.ms}-${after.number}`, after.tag, pageMessages, pageCharacters];
    return this.#reads.run(readEventsScript, [2, key, headKey, ...args], (reply) => this.#readPage(reply, after));
  }

  close(): void {
    this.#stop();
  }

  #readPage(reply: unknown, after: MessageId): LogPage {
    const [headText, begun, known, firstText, ...entries] = readList(reply);
    const head = readId(readText(headText));
    const first = idIn(readText(firstText), "");
    if (entries.length % 4 !== 0) throw unreadable();
    const messages: LoggedMessage[] = [];
    for (let index = 0; index < entries.length; index += 4) {
      const [place, tag, origin, body] = entries.slice(index, index + 4).map(readText);
      const id = idIn(place ?? "", tag ?? "");
      if (id === undefined || origin === undefined) throw unreadable();
      messages.push({ id, own: origin === this.#origin, body: id.tag === "" ? undefined : body });
    }
    const state = { head, first, begunMs: readInteger(begun) };
    return { messages, head, gap: readFlag(known) ? undefined : gapAfter(after, state) };
  }
}

function lifeOfHead(maxAgeMs: number): number {
  return Math.max(maxAgeMs, headMs);
}

function readIdReply(reply: unknown): MessageId {
  const id = readId(readText(reply));
  if (id === undefined) throw unreadable();
  return id;
}

const placeForm = /^(\d{1,15})-(\d{1,15})$/;
const tagForm = /^[0-9a-f]{12}$/;

/** The id of an entry, without a tag where no release has written one. */
function idIn(place: string, tag: string): MessageId | undefined {
  const match = placeForm.exec(place);
  if (match === null) return undefined;
  return { ms: Number(match[1]), number: Number(match[2]), tag: tagForm.test(tag) ? tag : "" };
}
