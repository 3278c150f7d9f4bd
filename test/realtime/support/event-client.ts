import { request } from "node:http";
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { cleanUpInTest } from "../../support/clean-up.js";
import { until } from "../../support/until.js";

export interface ReceivedEvent {
  readonly id: string;
  readonly event: string;
  readonly data: unknown;
}

export interface StreamOptions {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A client of a stream of events, by the algorithm of WHATWG HTML 9.2.6. It shows what EventSource hides. */
export class EventClient {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly events: ReceivedEvent[] = [];
  /** The id with which this client would connect again. */
  lastId = "";
  retry: number | undefined;
  comments = 0;
  /** Of an answer that is no stream. */
  body = "";
  /** Has the server ended the response, or has it broken off? */
  ended: "no" | "whole" | "broken" = "no";
  readonly #request: ClientRequest;
  readonly #response: IncomingMessage;
  #rest = "";
  #id = "";
  #event = "";
  #data: string[] = [];

  constructor(outgoing: ClientRequest, response: IncomingMessage) {
    this.#request = outgoing;
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    const isStream = response.headers["content-type"] === "text/event-stream";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => (isStream ? this.#read(chunk) : (this.body += chunk)));
    response.on("end", () => (this.ended = "whole"));
    response.on("close", () => (this.ended = response.complete ? "whole" : "broken"));
    response.on("error", () => undefined);
  }

  /** The code of the problem. */
  get code(): string | undefined {
    return (JSON.parse(this.body) as { code?: string }).code;
  }

  /** The data of the messages, without the events of the stream itself. */
  get data(): unknown[] {
    const own = new Set(["end", "gap", "degraded", "recovered"]);
    return this.events.filter(({ event }) => !own.has(event)).map(({ data }) => data);
  }

  get reason(): unknown {
    return (this.events.find(({ event }) => event === "end")?.data as { reason?: unknown } | undefined)?.reason;
  }

  async has(count: number): Promise<void> {
    await until(() => this.data.length >= count);
  }

  async hears(event: string): Promise<void> {
    await until(() => this.events.some((one) => one.event === event));
  }

  pause(): void {
    this.#response.pause();
  }

  resume(): void {
    this.#response.resume();
  }

  /** Drops the connection. */
  drop(): void {
    this.#request.destroy();
  }

  #read(chunk: string): void {
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
    if (field === "") this.comments += 1;
    else if (field === "data") this.#data.push(value);
    else if (field === "event") this.#event = value;
    else if (field === "id") this.#id = value;
    else if (field === "retry") this.retry = Number(value);
  }

  #dispatch(): void {
    this.lastId = this.#id;
    if (this.#data.length > 0)
      this.events.push({
        id: this.lastId,
        event: this.#event === "" ? "message" : this.#event,
        data: JSON.parse(this.#data.join("\n")),
      });
    this.#event = "";
    this.#data = [];
  }
}

/** Opens a stream; it is dropped after the test. */
export async function openEvents(
  url: string,
  { method = "GET", token, headers }: StreamOptions = {},
): Promise<EventClient> {
  const outgoing = request(url, {
    method,
    agent: false,
    headers: { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...headers },
  });
  cleanUpInTest(() => outgoing.destroy());
  return new Promise((resolve, reject) => {
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const client = new EventClient(outgoing, response);
      if (response.headers["content-type"] === "text/event-stream" && method !== "HEAD") return resolve(client);
      response.on("end", () => resolve(client));
    });
    outgoing.end();
  });
}
