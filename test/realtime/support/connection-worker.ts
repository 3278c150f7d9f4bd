import { createGate } from "@portcullis/core/adapter";
import type { Gate } from "@portcullis/core";
import { testAuth } from "@portcullis/testkit";
import { silentLogger } from "../../support/logger.js";

/** What a process is told. */
export type ConnectionOrder =
  | { readonly op: "open"; readonly url: string; readonly prefix: string; readonly tokens: readonly string[] }
  | { readonly op: "close" };

/** What it tells. */
export type ConnectionReport =
  | { readonly type: "watching"; readonly count: number }
  /** `at`: unix milliseconds, by the clock of the machine. */
  | { readonly type: "ended"; readonly jti: string; readonly reason: string; readonly at: number };

function tell(report: ConnectionReport): void {
  process.send?.(report);
}

async function open({ url, prefix, tokens }: ConnectionOrder & { readonly op: "open" }): Promise<Gate<never, never>> {
  const gate = createGate(
    {
      ...{ redis: url, prefix, auth: testAuth, deadline: 2000, logger: silentLogger },
      connections: { maxPerUser: 10_000 },
    },
    () => undefined as never,
  );
  for (const token of tokens) {
    const verified = await gate.verify(token);
    if (!verified.allowed) throw new Error(verified.cause);
    const { auth } = verified;
    gate.connections.watch(auth, (reason) => tell({ type: "ended", jti: auth.jti ?? "", reason, at: Date.now() }));
  }
  tell({ type: "watching", count: gate.connections.open });
  return gate;
}

let opened: Promise<Gate<never, never>> | undefined;

process.on("message", (order: ConnectionOrder) => {
  if (order.op === "open") opened = open(order);
  else void opened?.then((gate) => gate.close()).then(() => process.disconnect());
});
process.on("disconnect", () => process.exit());
