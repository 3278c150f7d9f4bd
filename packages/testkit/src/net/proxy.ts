import { createServer, connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** Treatment of connections through the proxy. */
export type ProxyMode =
  /** Bytes pass both ways. */
  | "pass"
  /** Bytes go to the server, and nothing comes back: commands run, and their replies are lost. */
  | "drop-replies"
  /** New connections are reset at once. */
  | "refuse";

/** A TCP proxy on loopback in front of one server, which simulates network faults. */
export interface Proxy {
  readonly host: string;
  readonly port: number;
  /** `redis://127.0.0.1:<port>` */
  readonly url: string;
  mode: ProxyMode;
  /** Delay of replies in milliseconds. */
  delayMs: number;
  /** Connections that are open now. */
  readonly connections: number;
  /** Replies that were lost by {@link Proxy.cutAfter}. */
  readonly cuts: number;
  /** Drops the reply to the next command that contains this text, after the command ran, and resets its connection; "" for none. */
  cutAfter(text: string): void;
  /**
   * Resets the connection of the next command that contains this text before the server gets it, and keeps the command, as if
   * it were still in the network after its sender gave up.
   */
  strand(text: string): void;
  /** Commands that {@link Proxy.strand} keeps. */
  readonly stranded: number;
  /** Delivers the commands that {@link Proxy.strand} kept. Resolves when the server answered them. */
  deliver(): Promise<void>;
  /** Keeps connections open and lets nothing pass, like a frozen peer or a network that drops packets. */
  freeze(): void;
  /** Lets everything pass again. */
  thaw(): void;
  /** Resets all connections. The mode decides about new ones. */
  reset(): void;
  close(): Promise<void>;
}

const HOST = "127.0.0.1";

/** Time after which a command that the server received together with others has run. */
const ranMs = 20;

/** Starts a proxy in front of a server on loopback. */
export async function startProxy(target: { readonly port: number; readonly host?: string }): Promise<Proxy> {
  const pairs = new Set<readonly [client: Socket, upstream: Socket]>();
  const timers = new Set<NodeJS.Timeout>();
  let frozen = false;
  let cuts = 0;
  let cut: string | undefined;
  let strand: string | undefined;
  const stranded: (() => Promise<void>)[] = [];

  const server = createServer((client) => {
    if (proxy.mode === "refuse") return resetSocket(client);
    const upstream = connect({ host: target.host ?? HOST, port: target.port });
    const pair = [client, upstream] as const;
    pairs.add(pair);
    let condemned = false;
    let dying: NodeJS.Timeout | undefined;
    let lossy = false;
    /** The server's side outlives the client's, for the command that is still to be delivered. */
    let kept = false;
    // Bytes of a connection never overtake each other, however the delay changes, and in which order timers fire.
    let lastDue = 0;
    const late: Buffer[] = [];

    function end(): void {
      pairs.delete(pair);
      client.destroy();
      if (!kept) upstream.destroy();
    }
    for (const socket of pair) socket.setNoDelay(true).on("error", end).on("close", end);
    if (frozen) for (const socket of pair) socket.pause();
    client.on("data", (bytes: Buffer) => {
      if (cut !== undefined && bytes.includes(cut)) {
        cut = undefined;
        condemned = true;
      }
      if (strand !== undefined && bytes.includes(strand)) {
        strand = undefined;
        pairs.delete(pair);
        kept = true;
        stranded.push(() => deliverTo(upstream, bytes));
        return resetSocket(client);
      }
      upstream.write(bytes);
    });
    upstream.on("data", (bytes: Buffer) => {
      if (kept) return;
      if (condemned) {
        // It may be the answer to an earlier command, and this one is still to run.
        dying ??= later(ranMs, () => {
          cuts += 1;
          pairs.delete(pair);
          resetSocket(client);
          upstream.destroy();
        });
        return;
      }
      if (proxy.mode === "drop-replies") {
        lossy = true;
        return;
      }
      // A connection has all bytes or none: what comes after a gap would be taken for the replies that are missing.
      if (lossy) {
        pairs.delete(pair);
        resetSocket(client);
        upstream.destroy();
        return;
      }
      const now = performance.now();
      if (proxy.delayMs === 0 && late.length === 0) return void client.write(bytes);
      lastDue = Math.max(lastDue, now + proxy.delayMs);
      late.push(bytes);
      later(lastDue - now, () => {
        const first = late.shift();
        if (first !== undefined && !client.destroyed) client.write(first);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;

  function later(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
    return timer;
  }

  function each(act: (socket: Socket) => void): void {
    for (const pair of pairs) pair.forEach(act);
  }

  function reset(): void {
    for (const [client, upstream] of pairs) {
      resetSocket(client);
      upstream.destroy();
    }
    pairs.clear();
  }

  const proxy: Proxy = {
    mode: "pass",
    delayMs: 0,
    host: HOST,
    port,
    url: `redis://${HOST}:${port}`,
    get connections() {
      return pairs.size;
    },
    get cuts() {
      return cuts;
    },
    cutAfter(text: string) {
      cut = text === "" ? undefined : text;
    },
    strand(text: string) {
      strand = text;
    },
    get stranded() {
      return stranded.length;
    },
    async deliver() {
      await Promise.all(stranded.splice(0).map(async (late) => late()));
    },
    freeze() {
      frozen = true;
      each((socket) => socket.pause());
    },
    thaw() {
      frozen = false;
      each((socket) => socket.resume());
    },
    reset,
    async close() {
      for (const timer of timers) clearTimeout(timer);
      each((socket) => socket.destroy());
      pairs.clear();
      await proxy.deliver();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

/** The first bytes of an answer say that the command has run. */
async function deliverTo(upstream: Socket, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve) => {
    upstream.once("data", () => resolve()).once("close", () => resolve());
    if (upstream.destroyed) resolve();
    else upstream.write(bytes);
  });
  upstream.destroy();
}

/** Node loses the handle of a socket that is reset while it ends, and then waits for it, or spins, for ever. */
function resetSocket(socket: Socket): void {
  if (socket.readyState === "open") socket.resetAndDestroy();
  else socket.destroy();
}
