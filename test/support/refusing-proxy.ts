import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { cleanUp } from "./clean-up.js";

/** A proxy in front of a Redis that refuses commands, as hosting plans and service meshes do. */
export interface RefusingProxy {
  readonly port: number;
  readonly url: string;
  /** Returns the error for a command, as the client gets it; undefined lets the command pass. */
  refuse: (words: readonly string[]) => string | undefined;
  /** Commands that were refused, each with its first two words. */
  readonly refused: readonly string[];
}

/** Runs until the end of the test. The server answers a refused command too, so that replies keep their order. */
export async function startRefusingProxy(
  target: { readonly port: number },
  refuse: RefusingProxy["refuse"] = () => undefined,
): Promise<RefusingProxy> {
  const sockets = new Set<Socket>();
  const refused: string[] = [];
  const server = createServer((client) => {
    const upstream = connect({ host: "127.0.0.1", port: target.port });
    let unread = Buffer.alloc(0);
    function end(): void {
      for (const socket of [client, upstream]) sockets.delete(socket.destroy());
    }
    for (const socket of [client, upstream]) sockets.add(socket.setNoDelay(true).on("error", end).on("close", end));
    upstream.pipe(client);
    client.on("data", (bytes: Buffer) => {
      unread = Buffer.concat([unread, bytes]);
      for (let next = takeCommand(unread); next !== undefined; next = takeCommand(unread)) {
        const error = proxy.refuse(next.words);
        if (error !== undefined) refused.push(next.words.slice(0, 2).join(" ").toUpperCase());
        upstream.write(error === undefined ? unread.subarray(0, next.length) : errorCall(error));
        unread = unread.subarray(next.length);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const proxy: RefusingProxy = { port, url: `redis://127.0.0.1:${port}`, refuse, refused };
  return proxy;
}

/** A command that Redis answers with this error. */
function errorCall(error: string): string {
  return encode(["EVAL", "return {err = ARGV[1]}", "0", error]);
}

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** The first whole command of bytes in RESP. */
function takeCommand(bytes: Buffer): { words: string[]; length: number } | undefined {
  let at = 0;
  function takeNumber(): number | undefined {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const value = Number(bytes.toString("latin1", at + 1, end));
    at = end + 2;
    return value;
  }
  const count = takeNumber();
  if (count === undefined) return undefined;
  const words: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const length = takeNumber();
    if (length === undefined || bytes.length < at + length + 2) return undefined;
    words.push(bytes.toString("utf8", at, at + length));
    at += length + 2;
  }
  return { words, length: at };
}
