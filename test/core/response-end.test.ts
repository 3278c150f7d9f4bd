import { createServer, request } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { expect } from "chai";
import { abortOnDisconnect, onResponseEnd } from "@portcullis/core";

describe("the end of a response", () => {
  /** What was told of one request: the statuses, and whether the signal was aborted. */
  async function observe(
    respond: (res: ServerResponse) => void,
    leave: boolean,
  ): Promise<{ told: number[]; aborted: boolean }> {
    const told: number[] = [];
    let signal: AbortSignal | undefined;
    let late: ServerResponse | undefined;
    const closed = deferred();
    const server = createServer((_req, res) => {
      late = res;
      signal = abortOnDisconnect(res);
      onResponseEnd(res, (status) => told.push(status));
      res.once("close", () => closed.resolve());
      respond(res);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise<void>((resolve) => {
      const outgoing = request({ port, host: "127.0.0.1" }, (incoming) => {
        if (leave) {
          incoming.destroy();
          resolve();
        } else {
          incoming.resume().on("end", resolve);
        }
      });
      outgoing.on("error", () => resolve());
      outgoing.end();
      if (leave) void pause(50).then(() => outgoing.destroy());
    });
    await closed.done;
    if (late !== undefined) onResponseEnd(late, (status) => told.push(status));
    await new Promise(setImmediate);
    expect(late !== undefined && abortOnDisconnect(late).aborted).to.equal(signal?.aborted);
    await new Promise((resolve) => server.close(resolve));
    return { told, aborted: signal?.aborted === true };
  }

  it("is told once to each listener, with the status, and aborts nothing", async () => {
    const answer = await observe((res) => res.writeHead(418).end("tea"), false);
    expect(answer).to.deep.equal({ told: [418, 418], aborted: false });
  });

  it("is told with 0 where the client left before there was a response, and aborts", async () => {
    expect(await observe(() => undefined, true)).to.deep.equal({ told: [0, 0], aborted: true });
  });

  it("is told with 0 where the client left in the middle of it, and aborts", async () => {
    const answer = await observe((res) => res.writeHead(206).write("some"), true);
    expect(answer).to.deep.equal({ told: [0, 0], aborted: true });
  });
});

function deferred(): { readonly done: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const done = new Promise<void>((settle) => (resolve = settle));
  return { done, resolve };
}
