import type { AnyOptions } from "./app.js";
import { adapters } from "./app.js";
import { silentLogger } from "./logger.js";

/** What a server process is told over IPC. */
export interface ServerRequest {
  readonly adapter: string;
  readonly options: AnyOptions;
}

/** A process of its own with one test application, for what two processes do to each other. */
process.on("message", (message: ServerRequest | "close") => {
  if (message === "close") return void close();
  const adapter = adapters.find(({ name }) => name === message.adapter);
  void adapter
    ?.start({
      options: { ...message.options, logger: silentLogger },
      routes: {
        "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, quotas }),
        "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
        "GET /cached": async ({ cache }) => cache.getOrSet({ key: "k" }, () => ({ by: process.pid })),
      },
    })
    .then((app) => {
      running = app;
      process.send?.({ url: app.url });
    });
});

let running: Awaited<ReturnType<(typeof adapters)[number]["start"]>> | undefined;

/** Closes the server and the gate; the process then ends by itself if nothing holds it open. */
async function close(): Promise<void> {
  await running?.close();
  process.disconnect();
}
