import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "../history.js";
import type { Told } from "../history.js";
import type { Dice } from "../random.js";
import { applications, arrivalMs } from "../settings.js";
import type { Session } from "./session.js";
import { signIn } from "./session.js";
import type { OpenOptions, StreamClient } from "./stream.js";
import { openStream } from "./stream.js";
import { addressOf, ask } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
export const readers = 6;
/** A reader signs in anew long before its token expires. */
const freshMs = 5 * 60_000;

/** A client that reads its events at one process after the other, and goes on after the last that it has. */
export interface EventReader extends Client {
  /** Follows until this message has come, when everything is well again. */
  look(world: World, own: Dice, mark: Mark): Promise<void>;
}

/** A message that was published when everything was well again. */
export interface Mark {
  readonly calm: number;
  readonly number: number;
}

function nameOf(number: number): string {
  return `event-reader-${number}`;
}

export function createEventReader(world: () => World, number: number): EventReader {
  const name = nameOf(number);
  let session: Session | undefined;
  let signIns = 0;
  let lastId = "";

  async function signedIn(own: Dice): Promise<Session | undefined> {
    if (session !== undefined && monotonicMs() - session.since < freshMs) return session;
    signIns += 1;
    const label = `${world().part} ${name}#${signIns}`;
    const options = { client: name, subject: name, from: addressOf(300_000 + number), label };
    session = (await signIn(world(), own.between(0, processes - 1), options)) ?? session;
    return session;
  }

  async function read(
    own: Dice,
    more: Partial<OpenOptions>,
    follow: (client: StreamClient) => Promise<unknown>,
  ): Promise<void> {
    const current = await signedIn(own);
    if (current === undefined) return;
    const client = await openStream(world(), {
      ...{ client: name, session: current, process: own.between(0, processes - 1), resumes: true, after: lastId },
      ...{ topics: [`user:${name}`, "news"], chosen: own.chance(0.5), ...more },
    });
    await follow(client);
    client.leave();
    await client.over;
    // What has come of an event that is not whole does not count.
    lastId = client.lastId;
  }

  return {
    name,
    pauseMs: 120,
    async step(own) {
      // Some name topics of another user.
      if (own.chance(0.05)) return peek(own);
      const ms = own.pick([100, 800, 3000, 6000]);
      await read(own, {}, (client) => client.follow(own.between(0, ms)));
    },
    async look(_world, own, { calm, number: marked }) {
      const until = monotonicMs() + arrivalMs;
      const isMark = (one: Told): boolean =>
        one.kind === "message" && one.publisher === "marker" && one.number === marked;
      do {
        const heard: boolean[] = [];
        await read(own, { look: calm }, async (client) =>
          heard.push(await client.hears(isMark, until - monotonicMs())),
        );
        if (heard.includes(true)) return;
        await sleep(200);
      } while (monotonicMs() < until);
    },
  };

  async function peek(own: Dice): Promise<void> {
    const current = await signedIn(own);
    if (current === undefined) return;
    const topics = [`user:${name}`, `user:${nameOf((number + 1) % readers)}`];
    const client = await openStream(world(), {
      ...{ client: `${name} peeks`, session: current, process: own.between(0, processes - 1), chosen: true },
      ...{ topics, foreign: true },
    });
    await client.follow(1000);
  }
}

/** A client that publishes one event after the other. */
export function createPublisher(world: () => World, number: number): Client {
  const name = `publisher-${number}`;
  let posts = 0;
  return {
    name,
    pauseMs: 60,
    async step(own) {
      posts += 1;
      const topic = own.chance(0.4) ? "news" : `user:${nameOf(own.between(0, readers - 1))}`;
      const leaveAfterMs = own.chance(0.05) ? own.between(1, 30) : undefined;
      await publish(
        world(),
        { publisher: name, number: posts, topic, process: own.between(0, processes - 1) },
        leaveAfterMs,
      );
    },
  };
}

interface Publish {
  readonly publisher: string;
  readonly number: number;
  readonly topic: string;
  readonly process: number;
  /** The calm that it marks. */
  readonly calm?: number;
}

async function publish(
  world: World,
  { publisher, number, topic, process, calm }: Publish,
  leaveAfterMs?: number,
): Promise<number> {
  const { operation } = await ask(world, publisher, {
    ...{ name: "publish", method: "POST", path: "/publish", process, leaveAfterMs },
    headers: { "x-topic": topic, "x-publisher": publisher, "x-number": number },
    args: { publisher, number, topic, calm },
  });
  return operation.status;
}

let marks = 0;

/** Publishes something for everybody; several times, if that fails. */
export async function publishMark(world: World, calm: number): Promise<Mark> {
  for (let attempt = 0; ; attempt += 1) {
    marks += 1;
    const status = await publish(world, { publisher: "marker", number: marks, topic: "news", process: attempt, calm });
    if (status === 200 || attempt === 10) return { calm, number: marks };
    await sleep(500);
  }
}
