import type { AnyOptions, TestApp } from "./app.js";
import { adapters } from "./app.js";
import { openLatch } from "./latch.js";
import { silentLogger } from "./logger.js";

/** What a server process is told over IPC. */
export interface ServerRequest {
  readonly adapter: string;
  readonly options: AnyOptions;
}

let latch = openLatch();

/** Answers what is held; what comes later is held again. */
function release(): void {
  const { open } = latch;
  latch = openLatch();
  open();
}

/** A process of its own with one test application, for what two processes do to each other. */
process.on("message", (message: ServerRequest | "close" | "release") => {
  if (message === "close") return void close();
  if (message === "release") return release();
  const adapter = adapters.find(({ name }) => name === message.adapter);
  void adapter
    ?.start({
      options: { ...message.options, logger: silentLogger },
      use: (gate) => [
        gate.when({ path: "/login" }, gate.throttleLogin({ account: (raw) => raw.headers["x-account"] })),
        gate.unless({ path: ["/login", "/checks", "/unblock"] }, gate.guard()),
      ],
      routes: {
        ...wrongPasswords(),
        "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, quotas }),
        "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
        // Answered when the process is told to release it.
        "GET /held": () => latch.wait(),
        "GET /cached": async ({ cache }) => cache.getOrSet({ key: "k" }, () => ({ by: process.pid })),
      },
    })
    .then((app) => {
      running = app;
      process.send?.({ url: app.url });
    });
});

/** A login at which no password is right, and how many of them it has looked at. */
function wrongPasswords(): TestApp["routes"] {
  let checks = 0;
  return {
    "POST /login": () => {
      checks += 1;
      throw Object.assign(new Error("wrong password"), { status: 401 });
    },
    "GET /checks": () => ({ checks }),
    "POST /unblock": async (_request, gate) => gate.logins.unblock({ ip: "127.0.0.1" }),
  };
}

let running: Awaited<ReturnType<(typeof adapters)[number]["start"]>> | undefined;

/** Closes the server and the gate; the process then ends by itself if nothing holds it open. */
async function close(): Promise<void> {
  setTimeout(() => console.error("still open:", process.getActiveResourcesInfo()), 5000).unref();
  await running?.close();
  process.disconnect();
}
