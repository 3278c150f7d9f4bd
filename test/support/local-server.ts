import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { cleanUpInTest } from "./clean-up.js";

export interface LocalServer {
  readonly url: string;
  /** The paths asked for, in order. */
  readonly requests: string[];
  /** How many connections were made. */
  connections: number;
  close(): Promise<void>;
}

/** A server on loopback that answers as told; closed after the test, if it was started in one. */
export async function startServer(answer: (req: IncomingMessage, res: ServerResponse) => void): Promise<LocalServer> {
  const server = createServer((req, res) => {
    local.requests.push(req.url ?? "");
    answer(req, res);
  });
  const local: LocalServer = {
    url: "",
    requests: [],
    connections: 0,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
  cleanUpInTest(() => local.close());
  server.on("connection", () => (local.connections += 1));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Object.assign(local, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
}
