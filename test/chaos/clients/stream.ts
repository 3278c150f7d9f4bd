import { Agent, request } from "node:http";
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "../history.js";
import type { Stream, Told } from "../history.js";
import { silentMs } from "../settings.js";
import type { Session } from "./session.js";
import { tokenFacts } from "./session.js";
import type { World } from "./world.js";

export interface OpenOptions {
  readonly client: string;
  readonly session: Session;
  readonly process: number;
  readonly topics: readonly string[];
  /** Name the topics in the request. @default false: the server knows them */
  readonly chosen?: boolean;
  readonly foreign?: boolean;
  readonly after?: string;
  readonly resumes?: boolean;
  readonly look?: number | undefined;
}

/** An end of the stream, or an answer that is no stream, comes within this time; or the client leaves. */
const patienceMs = 10_000;
const agent = new Agent({ keepAlive: false });

/** A client of one stream of events, by the algorithm of WHATWG HTML 9.2.6. It notes everything that the stream tells. */
export class StreamClient {
  /** Resolves at the head of the answer, or when the stream is over. */
  readonly answered: Promise<void>;
  /** Resolves when the stream is over, for whichever reason. */
  readonly over: Promise<Stream>;
  /** The id after which this client would go on. */
  lastId: string;
  readonly told: Told[] = [];
  #leave: () => void = () => undefined;
  #onTold: () => void = () => undefined;
  #lastBytesAt = monotonicMs();
  #rest = "";
  #id: string;
  #event = "";
  #data: string[] = [];
  #reason: string | undefined;
  #isOver = false;

  constructor(world: World, options: OpenOptions, url: string, life: number, process: number) {
    const { client, session, topics, chosen = false, foreign = false, after = "", resumes = false, look } = options;
    this.lastId = this.#id = after;
    const query = chosen ? `?${topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join("&")}` : "";
    const start = monotonicMs();
    let opened: number | undefined;
    let status = 0;
    let [hasLeft, isWhole] = [false, false];
    let answer: () => void = () => undefined;
    this.answered = new Promise((resolve) => (answer = resolve));
    this.over = new Promise((resolve) => {
      const outgoing = request(`${url}${chosen ? "/chosen" : "/events"}${query}`, {
        agent,
        headers: {
          host: "api.test",
          authorization: `Bearer ${session.access}`,
          ...(after === "" ? {} : { "last-event-id": after }),
        },
      });
      const patience = setTimeout(() => this.leave(), patienceMs);
      this.#leave = () => {
        hasLeft = true;
        outgoing.destroy();
      };
      outgoing.on("response", (response: IncomingMessage) => {
        clearTimeout(patience);
        opened = monotonicMs();
        status = response.statusCode ?? 0;
        this.#lastBytesAt = opened;
        answer();
        const isStream = response.headers["content-type"] === "text/event-stream";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          if (isStream) this.#read(chunk);
        });
        response.on("end", () => (isWhole = true));
        response.on("error", () => undefined);
      });
      outgoing.on("error", () => undefined);
      outgoing.on("close", () => {
        clearTimeout(patience);
        this.#isOver = true;
        answer();
        const how = isWhole ? "ended" : hasLeft ? "left" : "broken";
        const stream: Stream = {
          ...{ type: "stream", client, process, life, start, opened, end: monotonicMs(), status, how },
          ...{ reason: this.#reason, topics, foreign, after, resumes, look, expires: session.expires },
          ...{ args: tokenFacts(session), told: this.told },
        };
        world.recorder.note(stream);
        resolve(stream);
      });
      outgoing.end();
    });
  }

  /** Drops the connection. */
  leave(): void {
    this.#leave();
  }

  /** Has the stream said nothing for longer than its heartbeats should take? */
  get isSilent(): boolean {
    return monotonicMs() - this.#lastBytesAt > silentMs;
  }

  /** Waits until the stream has told something of which this is true, it is over, or this time has passed. */
  async hears(test: (told: Told) => boolean, ms: number): Promise<boolean> {
    const heard = new Promise<boolean>((resolve) => {
      this.#onTold = () => {
        if (this.told.some(test)) resolve(true);
      };
      this.#onTold();
    });
    return Promise.race([heard, this.over.then(() => this.told.some(test)), sleep(ms, false)]);
  }

  /** Follows the stream until it is over or silent, at most for so long; then the client leaves. */
  async follow(ms: number): Promise<Stream> {
    const until = monotonicMs() + ms;
    while (!this.#isOver && monotonicMs() < until && !this.isSilent) await Promise.race([this.over, sleep(100)]);
    this.leave();
    return this.over;
  }

  #read(chunk: string): void {
    this.#lastBytesAt = monotonicMs();
    this.#rest += chunk;
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end === -1) return;
      this.#readLine(this.#rest.slice(0, end));
      this.#rest = this.#rest.slice(end + 1);
    }
  }

  #readLine(line: string): void {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = line.slice(0, colon === -1 ? undefined : colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id") this.#id = value;
  }

  #dispatch(): void {
    const at = monotonicMs();
    const [id, event, data] = [this.#id, this.#event, this.#data.join("\n")];
    const isPlace = data === "" && id !== this.lastId;
    this.lastId = id;
    [this.#event, this.#data] = ["", []];
    if (isPlace) this.told.push({ kind: "place", at, id });
    if (data === "") return;
    const { reason = "", ...post } = JSON.parse(data) as { reason?: string } & Record<string, unknown>;
    if (event === "end") this.#reason = reason;
    else if (event === "gap") this.told.push({ kind: "gap", at, reason });
    else if (event === "") {
      const { publisher, number, topic } = post as { publisher: string; number: number; topic: string };
      this.told.push({ kind: "message", at, id, publisher, number, topic });
    }
    this.#onTold();
  }
}

/** Asks this process, or the next that is up, for a stream of events. */
export async function openStream(world: World, options: OpenOptions): Promise<StreamClient> {
  for (;;) {
    const target = world.fleet.findFrom(options.process);
    if (target !== undefined) return new StreamClient(world, options, target.url, target.life, target.process);
    await sleep(100);
  }
}
