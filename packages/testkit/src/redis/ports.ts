import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/**
 * Below every system's ephemeral range, so that no outgoing connection can take the port while a server restarts
 * (on loopback, a client that reconnects to a closed ephemeral port may even connect to itself).
 */
const FIRST = 10_000;
const COUNT = 10_000;

/** A cluster node's bus listens this far above its port. */
export const BUS_OFFSET = 10_000;

/** Finds a loopback port that nothing listens on; with `bus`, one whose cluster bus port is free too. */
export async function findFreePort(options: { readonly bus?: boolean | undefined } = {}): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const port = FIRST + randomInt(COUNT);
    if ((await isFree(port)) && (options.bus !== true || (await isFree(port + BUS_OFFSET)))) return port;
  }
  throw new Error(`no free port on 127.0.0.1 from ${FIRST} to ${FIRST + COUNT - 1}`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const listener = createServer();
    listener.once("error", () => resolve(false));
    listener.listen({ host: "127.0.0.1", port, exclusive: true }, () => listener.close(() => resolve(true)));
  });
}
