import type { Channel } from "@portcullis/core";
import type { AnyGate, AnyMiddleware } from "../../support/app.js";
import { eventsChannel, heartbeat } from "../settings.js";

/** A message of a publisher. It says its topic, so that a client can tell whether it may see it. */
export interface Post {
  readonly publisher: string;
  readonly number: number;
  readonly topic: string;
}

const channels = new WeakMap<AnyGate, Channel<Post>>();

/** The channel of a gate, which is defined once. */
export function postsOf(gate: AnyGate): Channel<Post> {
  let channel = channels.get(gate);
  if (channel === undefined) {
    channel = gate.channels.define(eventsChannel, { reliable: true, schema: checkPost });
    channels.set(gate, channel);
  }
  return channel;
}

function checkPost(value: unknown): Post {
  const { publisher, number, topic } = value as Partial<Record<keyof Post, unknown>>;
  if (typeof publisher !== "string" || typeof number !== "number" || typeof topic !== "string")
    throw new TypeError("no post");
  return { publisher, number, topic };
}

function topicsOf(subject: string | undefined): readonly string[] {
  return [`user:${subject}`, "news"];
}

/** Streams whose topics the server names, and streams whose topics the client names. A client may resume at either. */
export function streams(gate: AnyGate): AnyMiddleware[] {
  const channel = postsOf(gate);
  return [
    gate.when({ path: ["/events", "/chosen"] }, gate.guard()),
    gate.when(
      { path: "/events" },
      gate.events({ channel, heartbeat, topics: ({ auth }) => [...topicsOf(auth.subject)] }),
    ),
    gate.when(
      { path: "/chosen" },
      gate.events({ channel, heartbeat, authorize: ({ auth }, topic) => topicsOf(auth.subject).includes(topic) }),
    ),
  ];
}
