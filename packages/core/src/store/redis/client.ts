import { Command, Redis } from "ioredis";

/** The part of a Redis client that Portcullis uses: `Redis` and `Cluster` of ioredis 5 and 6 have it. */
export interface RedisLike {
  /** State of the connection, as ioredis names it. */
  readonly status: string;
  /** Called if the client was created with `lazyConnect`. */
  connect?(): Promise<unknown>;
  /** Creates another client of the same server, for tracking. */
  duplicate?(options?: object): unknown;
  /** Is it a Cluster client? */
  readonly isCluster?: boolean;
  /** Sends a command. */
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  /**
   * Runs a script by its digest, and resolves to bytes in place of text. Without it, or beside a `call` that the application
   * has replaced, replies are lists, read more slowly.
   */
  evalshaBuffer?(...args: (string | number)[]): Promise<unknown>;
  /** The same by the text of the script. */
  evalBuffer?(...args: (string | number)[]): Promise<unknown>;
  /** Adds a listener. */
  on(event: "ready" | "error", listener: (error: Error) => void): unknown;
  /** Removes a listener. */
  off(event: "ready" | "error", listener: (error: Error) => void): unknown;
}

/** Commands that may have hundreds of words. */
export type LongCommand = "evalsha" | "eval" | "mget";

/** A client that can read bytes. */
type BytesClient = RedisLike & Required<Pick<RedisLike, "evalshaBuffer" | "evalBuffer">>;

/** The last prototype, or client, that was found to make all these methods. */
let lastMaker: BytesClient | undefined;

/**
 * Can the client read bytes, by methods of the same making as its `call`? An application that has replaced `call` by a subclass,
 * a proxy or a patch may change the keys of all commands there: decisions must not go round it, or they would look for
 * revocations elsewhere. Its `callBuffer` is not used, since it loses the name of the command with `enableAutoPipelining`.
 */
export function readsBytes(client: RedisLike): client is BytesClient {
  return makerOf(client) !== undefined;
}

/** The prototype, or client, that has made `call` and the methods for bytes; undefined if no single one has. */
function makerOf(client: RedisLike): BytesClient | undefined {
  if (client.evalshaBuffer === undefined || client.evalBuffer === undefined) return undefined;
  if (lastMaker !== undefined && hasMethodsOf(lastMaker, client)) return lastMaker;
  let maker: object | null = client;
  while (maker !== null && !Object.hasOwn(maker, "call")) maker = Object.getPrototypeOf(maker) as object | null;
  if (maker === null || !Object.hasOwn(maker, "evalshaBuffer") || !Object.hasOwn(maker, "evalBuffer")) return undefined;
  if (!hasMethodsOf(maker as BytesClient, client)) return undefined;
  lastMaker = maker as BytesClient;
  return lastMaker;
}

function hasMethodsOf(maker: BytesClient, client: RedisLike): boolean {
  return (
    client.call === maker.call && client.evalshaBuffer === maker.evalshaBuffer && client.evalBuffer === maker.evalBuffer
  );
}

/**
 * Sends a command with many words. The methods of ioredis copy their arguments several times and flatten them, which takes
 * longer than to write them to the socket: on Node 20 half a microsecond for each. So a command gets its words when it is made
 * already. A client with a key prefix, of a Cluster, of another ioredis, or with a `call` of the application gets them as
 * arguments.
 *
 * @param reads "bytes" only for a client of which {@link readsBytes} is true
 */
export function sendLong(
  client: RedisLike,
  name: LongCommand,
  words: readonly string[],
  reads: "text" | "bytes",
): Promise<unknown> {
  if (client instanceof Redis && isAsMade(client)) {
    // In capitals, as by `call`: transformers of the application for its own "evalsha" or "mget" do not apply.
    const command = new LongWords(name.toUpperCase(), words, reads === "text" ? "utf8" : null);
    return client.sendCommand(command) as Promise<unknown>;
  }
  if (reads === "text" || name === "mget" || !readsBytes(client)) return client.call(name.toUpperCase(), ...words);
  return client[`${name}Buffer`](...words);
}

const none: string[] = [];

/** The heads of words by their lengths: to make a text of a number takes a third of the time. */
const heads = Array.from({ length: 256 }, (_, length) => `$${length}\r\n`);

function headOf({ length }: string): string {
  return heads[length] ?? `$${length}\r\n`;
}

/** A command that gets its words when it is made. */
class LongWords extends Command {
  constructor(name: string, words: readonly string[], replyEncoding: "utf8" | null) {
    super(name, none, { replyEncoding });
    this.args = words as string[];
  }

  /**
   * Writes the command. ioredis asks for the number of bytes of each word, which takes longer than the rest. A text that is as
   * long as its bytes has only words that are, so it is enough to ask for the whole.
   */
  override toWritable(socket: object): string | Buffer {
    let text = `*${this.args.length + 1}\r\n$${this.name.length}\r\n${this.name}\r\n`;
    for (const word of this.args as string[]) text += `${headOf(word)}${word}\r\n`;
    return Buffer.byteLength(text) === text.length ? text : super.toWritable(socket);
  }
}

/** Are the methods that send commands those of ioredis, and do they change no keys? */
function isAsMade(client: RedisLike & Redis): boolean {
  const { keyPrefix } = client.options;
  return makerOf(client) !== undefined && (keyPrefix === undefined || keyPrefix === "");
}

type Listener = (...values: never[]) => void;

/** The part of an event emitter that {@link listenTo} uses. */
interface Emitter {
  on(event: string, listener: Listener): unknown;
  off(event: string, listener: Listener): unknown;
}

const shared = new WeakMap<object, Map<string, { readonly listeners: Set<Listener>; readonly dispatch: Listener }>>();

/**
 * Listens to an event of a client, with one listener on the client for all gates that share it: Node warns of more than
 * ten. Returns a function that removes the listener.
 */
export function listenTo(client: object, event: string, listener: Listener): () => void {
  const emitter = client as Emitter;
  const events = shared.get(client) ?? new Map<string, { listeners: Set<Listener>; dispatch: Listener }>();
  shared.set(client, events);
  let known = events.get(event);
  if (known === undefined) {
    const listeners = new Set<Listener>();
    known = { listeners, dispatch: (...values) => [...listeners].forEach((one) => one(...values)) };
    events.set(event, known);
    emitter.on(event, known.dispatch);
  }
  const { listeners, dispatch } = known;
  listeners.add(listener);
  return () => {
    if (!listeners.delete(listener) || listeners.size > 0) return;
    emitter.off(event, dispatch);
    events.delete(event);
  };
}

const muted = new WeakSet<object>();

/**
 * Drops further errors of the socket of a client, after one that the client has reported. ioredis 5 and 6 listen for one
 * error alone, and a TLS socket may emit a second one, which would end the process.
 */
export function muteSocket(client: object): void {
  const { stream } = client as { readonly stream?: Partial<Emitter> };
  if (stream?.on === undefined || muted.has(stream)) return;
  muted.add(stream);
  stream.on("error", () => undefined);
}

/** The part of a socket that corking uses. */
interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Collects the commands to a server, or to the masters of a Cluster, until `release`, so that each gets one write instead
 * of one for each command. `release` must follow in the same turn of the event loop.
 */
export function cork(client: RedisLike): { release: () => void } {
  const sockets = socketsOf(client);
  for (const socket of sockets) socket.cork();
  return {
    release() {
      for (const socket of sockets) socket.uncork();
    },
  };
}

function socketsOf(client: RedisLike): Corkable[] {
  if (!("nodes" in client) || typeof client.nodes !== "function")
    return "stream" in client && isCorkable(client.stream) ? [client.stream] : [];
  const nodes = (client.nodes as (role: "master") => { readonly stream?: unknown }[])("master");
  return nodes.flatMap(({ stream }) => (isCorkable(stream) ? [stream] : []));
}

function isCorkable(stream: unknown): stream is Corkable {
  return typeof stream === "object" && stream !== null && "cork" in stream && "uncork" in stream;
}
