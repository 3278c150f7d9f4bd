import { appendFileSync } from "node:fs";
import type { AuditEvent } from "@portcullis/core";
import { adapters } from "../../support/app.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { silentLogger } from "../../support/logger.js";

/** What a process is told first. */
export interface Opening {
  readonly adapter: string;
  readonly options: AnyOptions;
  /** Each security event is a line of this file, also if the process is killed. */
  readonly trail: string;
}

/** A method of a part of the gate to call, such as `["sessions", "revokeAll"]`. */
export interface Call {
  readonly id: number;
  readonly method: readonly [part: string, name: string];
  /** The arguments of each call. All calls begin at once. */
  readonly calls: readonly (readonly unknown[])[];
}

/** How a call ended. */
export type Ending = { readonly value: unknown } | { readonly error: string };

let running: RunningApp | undefined;

async function open({ adapter, options, trail }: Opening): Promise<void> {
  running = await adapters
    .find(({ name }) => name === adapter)
    ?.start({
      options: {
        ...options,
        logger: silentLogger,
        audit: (event: AuditEvent) => appendFileSync(trail, `${JSON.stringify(event)}\n`),
      },
      use: (gate) => [
        gate.when({ path: "/login" }, gate.throttleLogin({ account: (raw) => raw.headers["x-account"] })),
        gate.routes.backchannelLogout({ audience: "shop-web", requireType: false }),
        gate.unless({ path: "/login" }, gate.guard()),
      ],
      routes: {
        "POST /login": () => {
          throw Object.assign(new Error("wrong password"), { status: 401 });
        },
        "GET /me": () => ({}),
        "POST /logout": async ({ auth }, gate) => ({ ended: await gate.sessions.revoke(auth) }),
      },
    });
  process.send?.({ url: running?.url });
}

async function callOne([part, name]: Call["method"], given: readonly unknown[]): Promise<Ending> {
  try {
    const service = Reflect.get(running?.gate ?? {}, part) as Record<string, (...args: unknown[]) => unknown>;
    return { value: await service[name]?.(...given) };
  } catch (error) {
    return { error: String((error as { code?: unknown }).code ?? error) };
  }
}

process.on("message", (message: Opening | Call) => {
  if ("trail" in message) void open(message);
  else
    void Promise.all(message.calls.map(async (given) => callOne(message.method, given))).then((endings) =>
      process.send?.({ id: message.id, endings }),
    );
});
