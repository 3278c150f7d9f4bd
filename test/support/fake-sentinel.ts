import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

/** A sentinel whose every word is the test's. */
export interface FakeSentinel {
  readonly port: number;
  /** Clients that asked for the master and have no answer. */
  readonly waiting: number;
  /** Clients that listen for failovers. */
  readonly listening: number;
  /** Keeps questions unanswered until {@link FakeSentinel.name}. */
  hold(): void;
  /** From now on, this is the master; whoever waits is told. */
  name(master: { readonly port: number }): void;
  /** Tells everyone who listens that there is another master. */
  announce(): void;
  close(): Promise<void>;
}

const channel = "+switch-master";
const host = "127.0.0.1";

function bulk(...words: readonly string[]): string {
  return words.map((word) => `$${word.length}\r\n${word}\r\n`).join("");
}

export async function startFakeSentinel(first: { readonly port: number }): Promise<FakeSentinel> {
  const sockets = new Set<Socket>();
  const listeners = new Set<Socket>();
  const waiting = new Set<Socket>();
  let port = first.port;
  let held = false;

  function tellMaster(socket: Socket): void {
    socket.write(`*2\r\n${bulk(host, `${port}`)}`);
  }

  function reply(socket: Socket, words: readonly string[]): void {
    const command = words[0]?.toUpperCase();
    if (command === "HELLO") socket.write(`%1\r\n${bulk("proto")}:3\r\n`);
    else if (command === "SUBSCRIBE") {
      listeners.add(socket);
      socket.write(`>3\r\n${bulk("subscribe", channel)}:1\r\n`);
    } else if (command !== "SENTINEL") socket.write("+OK\r\n");
    else if (words[1]?.toLowerCase() === "sentinels") socket.write("*0\r\n");
    else if (held) waiting.add(socket);
    else tellMaster(socket);
  }

  const server = createServer((socket) => {
    sockets.add(socket);
    socket
      .on("error", () => undefined)
      .on("close", () => [sockets, listeners, waiting].map((set) => set.delete(socket)));
    let unread = "";
    socket.on("data", (bytes) => {
      unread += bytes.toString();
      for (let next = takeCommand(unread); next !== undefined; next = takeCommand(unread)) {
        unread = next.rest;
        reply(socket, next.words);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));

  return {
    port: (server.address() as AddressInfo).port,
    get waiting() {
      return waiting.size;
    },
    get listening() {
      return listeners.size;
    },
    hold: () => void (held = true),
    name(master) {
      held = false;
      ({ port } = master);
      for (const socket of waiting) tellMaster(socket);
      waiting.clear();
    },
    announce() {
      for (const socket of listeners) socket.write(`>3\r\n${bulk("message", channel, `main ${host} 1 ${host} 2`)}`);
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The first whole command of a text in RESP, with what comes after it. Commands of tests are ASCII. */
function takeCommand(text: string): { words: string[]; rest: string } | undefined {
  const lines = text.split("\r\n");
  const count = Number(lines[0]?.slice(1));
  if (lines.length <= 1 + 2 * count) return undefined;
  const words = Array.from({ length: count }, (_, index) => lines[2 + 2 * index] ?? "");
  return { words, rest: lines.slice(1 + 2 * count).join("\r\n") };
}
