import { once } from "node:events";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { onResponseEnd } from "@portcullis/core";
import { expect } from "chai";
import { streamEndings } from "../../examples/express-api/src/live.js";
import { cleanUp } from "../support/clean-up.js";
import { openLatch } from "../support/latch.js";

interface Stream {
  /** All that was sent, when it has ended. */
  readonly whole: Promise<string>;
  /** Says to the example that messages may have been lost. */
  miss(): void;
  /** Resolves when the example listens no more. */
  readonly stopped: Promise<unknown>;
}

/** A stream of the example, for a user whose token lives so long. */
async function open(lifeSeconds: number, allowed: () => boolean, method = "GET"): Promise<Stream> {
  const stopped = openLatch();
  const listening = openLatch();
  let miss: () => void = () => undefined;
  const gate = {
    verify: () => Promise.resolve({ allowed: allowed() }),
    sessions: {
      onRevoked(_listener: unknown, onMissed: () => void) {
        miss = onMissed;
        listening.open();
        return () => stopped.open();
      },
    },
  };
  const server = createServer((_req, res) => {
    const auth = { principal: "alice", token: "a.b.c", expiresAt: Date.now() / 1000 + lifeSeconds };
    streamEndings(res, auth, gate, onResponseEnd);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const outgoing = request({ port: (server.address() as AddressInfo).port, method });
  const whole = once(outgoing, "response").then(async ([answer]) => {
    const chunks: Buffer[] = [];
    for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
  });
  outgoing.end();
  if (method === "GET") await listening.wait();
  return { whole, miss: () => miss(), stopped: stopped.wait() };
}

describe("the event stream of the examples", () => {
  it("ends with the access token that it was opened with", async () => {
    const { whole, stopped } = await open(0, () => true);
    expect(await whole)
      .to.include("event: open")
      .and.not.include("event: ended");
    await stopped;
  });

  it("ends where messages may have been lost and the token is not good any more", async () => {
    let allowed = true;
    const stream = await open(3600, () => allowed);
    stream.miss();
    allowed = false;
    stream.miss();
    expect(await stream.whole).to.include("event: open");
    await stream.stopped;
  });

  it("answers HEAD by its headers", async () => {
    expect(await (await open(3600, () => true, "HEAD")).whole).to.equal("");
  });
});
