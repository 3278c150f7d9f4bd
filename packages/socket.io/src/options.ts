import type { IncomingMessage } from "node:http";
import type { LimitOptions } from "@portcullis/core";
import type { Socket } from "socket.io";

/** A limit on the events that clients send, by a policy of the gate. */
export interface EventLimit {
  /**
   * The name of one of the gate's limits, or a limit of its own, whose functions get the socket. Limits per header see no
   * header. A limit that waits for a response (`settle`, `countOnly`, `"concurrency"`) is an error at the first event.
   */
  readonly limit: string | LimitOptions<Socket>;
  /** The events that it counts. @default all */
  readonly events?: readonly string[] | undefined;
  /** The units that an event counts: a whole number, or a function of the event's arguments. @default the cost of the limit */
  readonly cost?: number | ((event: string, args: readonly unknown[]) => number) | undefined;
}

/** The options of `secure()`. */
export interface SecureOptions {
  /** Limits on the events that clients send. @default [] */
  readonly limits?: readonly EventLimit[] | undefined;
  /**
   * The limit on connections by address, applied to the HTTP request before a socket exists; `false` for none.
   * @default { name: "socket.io", per: "ip", limit: 300, window: "1m" }
   */
  readonly handshakes?: LimitOptions<IncomingMessage> | false | undefined;
  /** Returns the address of the client behind proxies that you trust. @default the address of the connection */
  readonly address?: ((request: IncomingMessage) => string | undefined) | undefined;
  /**
   * How nodes reach each other: `"gate"` uses Redis streams in the Redis of the gate, or nothing if the gate has no Redis;
   * `"own"` keeps the adapter of the server.
   * @default "gate"
   */
  readonly adapter?: "gate" | "own" | undefined;
  /** About how many broadcasts are kept in Redis, for nodes that fall behind and for connection state recovery. @default 10_000 */
  readonly maxLength?: number | undefined;
}

/** The options after they were checked. */
export interface ResolvedSecure {
  readonly limits: readonly EventLimit[];
  readonly handshakes: LimitOptions<IncomingMessage> | undefined;
  readonly address: (request: IncomingMessage) => string | undefined;
  readonly adapter: "gate" | "own";
  readonly maxLength: number;
}

const defaultHandshakes: LimitOptions<IncomingMessage> = { name: "socket.io", per: "ip", limit: 300, window: "1m" };

/** Checks the options. Throws a TypeError or RangeError that says what to write instead. */
export function resolveSecure(options: SecureOptions): ResolvedSecure {
  const { limits = [], handshakes = defaultHandshakes, address, adapter = "gate", maxLength = 10_000 } = options;
  const known = ["limits", "handshakes", "address", "adapter", "maxLength"];
  for (const name of Object.keys(options))
    if (!known.includes(name)) throw wrong(name, `is not an option of secure(); they are ${known.join(", ")}`);
  if (!Array.isArray(limits)) throw wrong("limits", 'must be a list such as [{ limit: "messages", events: ["chat"] }]');
  for (const [index, limit] of (limits as readonly EventLimit[]).entries()) checkLimit(`limits[${index}]`, limit);
  if (handshakes !== false && (typeof handshakes !== "object" || (handshakes as unknown) === null))
    throw wrong("handshakes", "must be a limit, or false");
  if (address !== undefined && typeof address !== "function")
    throw wrong("address", "must be a function of the request that returns the address");
  if ((adapter as unknown) !== "gate" && (adapter as unknown) !== "own")
    throw wrong("adapter", 'must be "gate" or "own"');
  if (!Number.isSafeInteger(maxLength) || maxLength < 100 || maxLength > 1_000_000)
    throw new RangeError("portcullis: maxLength must be a whole number from 100 to 1000000");
  return {
    limits: limits as readonly EventLimit[],
    handshakes: handshakes === false ? undefined : handshakes,
    address: (request) => address?.(request) ?? request.socket.remoteAddress,
    adapter,
    maxLength,
  };
}

function checkLimit(option: string, given: EventLimit): void {
  if (typeof given !== "object" || (given as unknown) === null || Array.isArray(given))
    throw wrong(option, 'must be an object such as { limit: "messages", events: ["chat"] }');
  for (const name of Object.keys(given))
    if (!["limit", "events", "cost"].includes(name))
      throw wrong(`${option}.${name}`, "is unknown; a limit on events has limit, events and cost");
  const { limit, events, cost } = given;
  if (typeof limit !== "string" && (typeof limit !== "object" || (limit as unknown) === null))
    throw wrong(`${option}.limit`, "must be the name of one of the gate's limits, or a limit");
  if (events !== undefined && !(Array.isArray(events) && events.every((event) => typeof event === "string")))
    throw wrong(`${option}.events`, 'must be a list of names of events such as ["chat"]');
  if (cost !== undefined && typeof cost !== "function" && !(Number.isSafeInteger(cost) && cost >= 0))
    throw wrong(`${option}.cost`, "must be a whole number from 0, or a function of the event and its arguments");
}

function wrong(option: string, advice: string): TypeError {
  return new TypeError(`portcullis: ${option} ${advice}`);
}
