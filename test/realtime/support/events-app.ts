import type { Channel, EventsOptions } from "@portcullis/core";
import type { AnyMiddleware, AnyOptions, AnyGate, RunningApp } from "../../support/app.js";
import type { StartApp } from "../../support/every-gate.js";
import { until } from "../../support/until.js";
import { openEvents } from "./event-client.js";
import type { EventClient, StreamOptions } from "./event-client.js";

export type AnyEvents = Omit<EventsOptions, "channel">;

export interface EventsAppOptions {
  readonly gate?: Partial<AnyOptions>;
  readonly events?: AnyEvents;
  readonly reliable?: boolean;
  /** Middleware in front of the streams, behind the guard. */
  readonly front?: (gate: AnyGate) => AnyMiddleware[];
  /** @default the gate's guard */
  readonly guard?: (gate: AnyGate) => AnyMiddleware[];
}

export interface EventsApp {
  readonly app: RunningApp;
  readonly url: string;
  readonly gate: AnyGate;
  readonly channel: Channel<unknown>;
  /** Opens a stream, and waits until it is subscribed. */
  readonly open: (options?: StreamOptions, query?: string) => Promise<EventClient>;
  readonly ask: (options?: StreamOptions, query?: string) => Promise<EventClient>;
}

/** Each user gets the messages about the user. */
export const ownTopic: AnyEvents = { topics: ({ auth }) => [`user:${auth.subject}`] };

export async function startEvents(
  start: StartApp,
  { gate: gateOptions, events = ownTopic, reliable = true, front, guard }: EventsAppOptions = {},
): Promise<EventsApp> {
  let channel: Channel<unknown> | undefined;
  const app = await start(gateOptions, {
    use: (gate) => {
      const defined = gate.channels.define<unknown>("orders", { schema: (value) => value, reliable });
      channel = defined;
      return [
        ...(guard?.(gate) ?? [gate.guard()]),
        ...(front?.(gate) ?? []),
        gate.when({ path: "/events" }, gate.events({ ...events, channel: defined })),
      ];
    },
  });
  if (channel === undefined) throw new Error("there is no channel");
  const url = `${app.url}/events`;

  async function ask(options?: StreamOptions, query = ""): Promise<EventClient> {
    return openEvents(`${url}${query}`, options);
  }

  async function open(options?: StreamOptions, query?: string): Promise<EventClient> {
    const client = await ask(options, query);
    if (client.status !== 200) throw new Error(`the stream was refused: ${client.status} ${client.body}`);
    // Of a reliable channel the client is told its place as soon as its stream is subscribed.
    if (reliable) await until(() => client.lastId !== "" || client.ended !== "no" || client.events.length > 0);
    return client;
  }

  return { app, url, gate: app.gate, channel, open, ask };
}
