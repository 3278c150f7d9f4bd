import { createAdapter } from "@socket.io/redis-streams-adapter";
import type { ExtensionRedis, FurtherClient, FurtherConnection, GateExtension } from "@portcullis/core/adapter";
import type { Namespace } from "socket.io";
import type { Adapter, ClusterAdapter, ClusterResponse } from "socket.io-adapter";
import { MessageType } from "socket.io-adapter";
import { clearTimeout, monotonicNow, setTimeout } from "./real-timers.js";

/** How long XREAD waits for messages: shorter than the time after which a silent connection counts as dead. */
const blockMs = 2000;
/** Pause after a failed read, so that an outage is no busy loop. */
const pauseMs = 250;
/** How long the first message waits for the first connection. */
const firstConnectionMs = 1000;
/** The life of the stream after its last message. */
const streamLifeMs = 86_400_000;
const warnEveryMs = 60_000;

/** Appends a message; the stream always has an end. */
const appendScript = `
local id = redis.call('XADD', KEYS[1], unpack(ARGV, 2))
redis.pcall('PEXPIRE', KEYS[1], ARGV[1])
return id`;

/** The adapter of Redis streams over the Redis of a gate. */
export interface RedisAdapter {
  readonly create: (namespace: Namespace) => Adapter;
  close(): Promise<void>;
}

/**
 * Opens the adapter with connections of the gate. The adapter expects a client whose calls it need not await: a rejection would
 * end the process. It also reads again at once after an error. So it gets stand-ins with the few members that it calls.
 */
export function openRedisAdapter(
  redis: ExtensionRedis,
  logger: GateExtension["logger"],
  maxLength: number,
): RedisAdapter {
  const waiting: WaitingClient[] = [];
  let warnedAt = Number.NEGATIVE_INFINITY;

  function openWaiting(): WaitingClient {
    const client = new WaitingClient(redis.open("waiting"), () => void close());
    waiting.push(client);
    return client;
  }

  async function close(): Promise<void> {
    for (const client of waiting.splice(0)) client.disconnect();
    await connection.close();
  }

  function warn(error: unknown): void {
    const now = monotonicNow();
    if (now - warnedAt < warnEveryMs) return;
    warnedAt = now;
    const cause = error instanceof Error ? (error.message.split(" ", 1)[0] ?? "") : "";
    logger.warn(
      { cause: /^[A-Z]+$/.test(cause) ? cause : "unreachable" },
      "portcullis: Socket.IO could not send a message to the other processes through Redis",
    );
  }

  const connection = redis.open("commands");
  const commands = new CommandClient(connection, openWaiting, warn);
  const create = createAdapter(commands, {
    streamName: redis.key("stream"),
    channelPrefix: redis.channel(),
    sessionKeyPrefix: `${redis.key("states")}:`,
    maxLen: maxLength,
    blockTimeInMs: blockMs,
  });
  const prefix = `${redis.channel()}#`;
  return {
    create: (namespace) =>
      hardened(create(namespace), (uid) => {
        const channel = `${prefix}${namespace.name}#`;
        for (const client of waiting) client.unsubscribe([channel, `${channel}${uid}#`]);
      }),
    close,
  };
}

interface Publishing {
  readonly uid: string;
  onMessage(message: unknown, offset?: string): void;
  doPublishResponse(requester: string, response: ClusterResponse): Promise<void>;
}

/** The members of a handshake that other processes may see: no token is among them. */
const shownFields = ["host", "origin", "user-agent"];

interface RemoteSocketParts {
  readonly handshake: { readonly headers: Readonly<Record<string, unknown>>; readonly url: string };
}

/**
 * Hides tokens from other processes, lets no failed call end this one, and gives up the subscriptions of an adapter that closes:
 * clients that nobody has verified may make dynamic namespaces.
 */
function hardened(adapter: ClusterAdapter, onClose: (uid: string) => void): Adapter {
  const publishing = adapter as unknown as Publishing;
  const respond = publishing.doPublishResponse.bind(adapter);
  publishing.doPublishResponse = (requester, response) => {
    if (response.type !== MessageType.FETCH_SOCKETS_RESPONSE) return respond(requester, response);
    const sockets = response.data.sockets.map((socket) => withoutSecrets(socket as RemoteSocketParts));
    return respond(requester, { ...response, data: { ...response.data, sockets } });
  };
  const receive = publishing.onMessage.bind(adapter);
  publishing.onMessage = (message, offset) => {
    try {
      receive(message, offset);
    } catch {
      // Another program has written it. The adapter would read it again and again, and nothing behind it.
    }
  };
  const count = adapter.serverCount.bind(adapter);
  // Socket.IO does not catch a rejection when it broadcasts with acknowledgements; it waits until the timeout of the broadcast.
  adapter.serverCount = async () => count().catch(() => Number.POSITIVE_INFINITY);
  const fetchSockets = adapter.fetchSockets.bind(adapter);
  adapter.fetchSockets = async (options) => {
    if (options.flags?.local !== true) await count();
    return fetchSockets(options);
  };
  const emit = adapter.serverSideEmit.bind(adapter) as (packet: unknown[]) => Promise<void>;
  adapter.serverSideEmit = async (packet: unknown[]) => {
    const acknowledge: unknown = packet.at(-1);
    try {
      if (typeof acknowledge === "function") await count();
      await emit(packet);
    } catch (error) {
      if (typeof acknowledge === "function") (acknowledge as (error: unknown, replies: unknown[]) => void)(error, []);
    }
  };
  const close = adapter.close.bind(adapter);
  let isClosed = false;
  adapter.close = () => {
    // Socket.IO closes it again for each late socket, when another adapter may have taken its place.
    if (isClosed) return;
    isClosed = true;
    onClose(publishing.uid);
    return close();
  };
  return adapter;
}

function withoutSecrets(socket: RemoteSocketParts): object {
  const { headers, url } = socket.handshake;
  const shown = Object.fromEntries(Object.entries(headers).filter(([name]) => shownFields.includes(name)));
  return {
    ...socket,
    handshake: { ...socket.handshake, headers: shown, url: url.split("?", 1)[0] ?? "", query: {}, auth: {} },
  };
}

/** Sends commands that end soon. */
class CommandClient {
  /** The adapter connects duplicates of a lazy client itself. */
  readonly options = { lazyConnect: false };
  readonly #connection: FurtherConnection;
  readonly #duplicate: () => WaitingClient;
  readonly #warn: (error: unknown) => void;

  constructor(connection: FurtherConnection, duplicate: () => WaitingClient, warn: (error: unknown) => void) {
    this.#connection = connection;
    this.#duplicate = duplicate;
    this.#warn = warn;
  }

  duplicate(): WaitingClient {
    return this.#duplicate();
  }

  /** Rejects if the message was not sent: the adapter then delivers it in this process alone. */
  async xadd([stream, ...args]: readonly [stream: string, ...rest: (string | number)[]]): Promise<unknown> {
    try {
      return await this.#call("EVAL", appendScript, 1, stream, streamLifeMs, ...args);
    } catch (error) {
      this.#warn(error);
      throw error;
    }
  }

  /** Nobody awaits it. */
  async publish(channel: string, payload: Buffer): Promise<unknown> {
    return this.#call("PUBLISH", channel, payload).catch((error: unknown) => this.#warn(error));
  }

  /** Nobody awaits it: a state that cannot be kept is lost, and the client begins anew. */
  async set(...args: (string | number)[]): Promise<unknown> {
    return this.#call("SET", ...args).catch((error: unknown) => this.#warn(error));
  }

  async xrange(stream: string, start: string, end: string): Promise<unknown> {
    return this.#call("XRANGE", stream, start, end);
  }

  /** The one transaction of the adapter reads a key and deletes it. */
  multi(): object {
    const chain = {
      key: "",
      get: (key: string) => Object.assign(chain, { key }),
      del: () => chain,
      exec: async () => [[null, await this.#call("GETDEL", chain.key)]],
    };
    return chain;
  }

  /** The one command that the adapter sends so counts the subscribers of a channel. */
  send_command(
    command: string,
    args: readonly string[],
    callback: (error: unknown, reply?: [channel: string, count: string]) => void,
  ): void {
    const { client } = this.#connection;
    const nodes: readonly Pick<FurtherClient, "call">[] = client.nodes?.("master") ?? [client];
    Promise.all(nodes.map((node) => node.call(command, ...args))).then(
      (replies) => {
        const counts = replies.map((reply) => Number((reply as readonly unknown[])[1]));
        callback(null, [args[1] ?? "", String(counts.reduce((sum, count) => sum + count, 0))]);
      },
      (error: unknown) => callback(error),
    );
  }

  async #call(command: string, ...args: readonly (string | number | Buffer)[]): Promise<unknown> {
    if (!this.#connection.hasConnected()) await connected(this.#connection, firstConnectionMs);
    return this.#connection.client.call(command, ...args);
  }
}

type MessageListener = (channel: Buffer, message: Buffer) => void;

/** Reads a stream, or subscribes. */
class WaitingClient {
  readonly #connection: FurtherConnection;
  readonly #onEnd: () => void;
  /** The listeners of the channels of this connection. */
  readonly #listeners = new Map<string, MessageListener>();
  /** The channels that were subscribed to last: the adapter sets their listener next. */
  #latest: readonly string[] = [];
  #listens = false;
  #closed = false;
  /** The id of the last message: what was added during an outage is read after it. */
  #last: string | undefined;

  /** @param onEnd Called when the adapter needs its connections no more. */
  constructor(connection: FurtherConnection, onEnd: () => void) {
    this.#connection = connection;
    this.#onEnd = onEnd;
  }

  on(event: string, listener: MessageListener): this {
    if (event !== "messageBuffer") return this;
    for (const channel of this.#latest) this.#listeners.set(channel, listener);
    return this;
  }

  /** Subscribes at each connection. */
  subscribe(channels: readonly string[]): void {
    this.#latest = channels;
    if (this.#connection.isUp()) this.#subscribe(channels);
    if (this.#listens) return;
    this.#listens = true;
    this.#connection.client.on("messageBuffer", (channel, message) => {
      this.#listeners.get(channel.toString())?.(channel, message);
    });
    this.#connection.onConnect(() => this.#subscribe([...this.#listeners.keys()]));
  }

  unsubscribe(channels: readonly string[]): void {
    const known = channels.filter((channel) => this.#listeners.delete(channel));
    if (known.length > 0) this.#connection.client.unsubscribe(...known).catch(() => undefined);
  }

  #subscribe(channels: readonly string[]): void {
    if (channels.length > 0) this.#connection.client.subscribe(...channels).catch(() => undefined);
  }

  async xread(...args: (string | number)[]): Promise<unknown> {
    // The adapter reads again at once. After the end nothing may wake it.
    if (this.#closed) return new Promise(() => undefined);
    try {
      if (!this.#connection.isUp()) await connected(this.#connection, firstConnectionMs);
      const stream = String(args.at(-2));
      const after = args.at(-1) === "$" ? (this.#last ??= await this.#newest(stream)) : String(args.at(-1));
      const reply = (await this.#connection.client.call("XREAD", ...args.slice(0, -1), after)) as Streams | null;
      const id = reply?.[0]?.[1].at(-1)?.[0];
      if (id !== undefined) this.#last = id;
      return reply;
    } catch (error) {
      await pause(pauseMs);
      throw error;
    }
  }

  disconnect(): void {
    if (this.#closed) return;
    this.#closed = true;
    void this.#connection.close();
    this.#onEnd();
  }

  async #newest(stream: string): Promise<string> {
    const [entry] = (await this.#connection.client.call("XREVRANGE", stream, "+", "-", "COUNT", 1)) as Entry[];
    return entry?.[0] ?? "0-0";
  }
}

type Entry = [id: string, fields: string[]];
type Streams = [stream: string, entries: Entry[]][];

/** Waits for a connection, up to `ms`. */
async function connected(connection: FurtherConnection, ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    timer.unref();
    const stop = connection.onConnect(done);
    function done(): void {
      clearTimeout(timer);
      stop();
      resolve();
    }
  });
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
