import type { Channel, GateChannels } from "@portcullis/express";
import type { Order } from "./orders.js";
import { parseOrder } from "./orders.js";

/** Tells the open pages of a user what has happened: in every browser, whichever process it is connected to. */
export interface Live {
  /** Messages with an order, or with null where the sessions of the user are no longer the same. */
  readonly channel: Channel<Order | null>;
  orderPlaced(order: Order): void;
  sessionsChanged(user: string): void;
}

export function openLive(channels: GateChannels): Live {
  const channel = channels.define<Order | null>("pages", {
    schema: (data) => (data === null ? null : parseOrder(data)),
    // A page whose connection was broken gets what it has missed.
    reliable: true,
  });

  /** What is told is done by now, so a fault here fails no request: a page that is not told sees it when it loads again. */
  function tell(user: string, event: string, data: Order | null): void {
    channel
      .publish(data, { topic: topicOf(user), event })
      .catch((error: unknown) => console.error(`pages were not told of: ${event}`, error));
  }

  return {
    channel,
    orderPlaced: (order) => tell(order.owner, "order", order),
    sessionsChanged: (user) => tell(user, "sessions", null),
  };
}

/** The topic of the messages for a user. Nobody else may get them. */
export function topicOf(user: string): string {
  return `user ${user}`;
}
