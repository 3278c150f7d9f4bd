import { createGate } from "@portcullis/core/adapter";
import type { Channel } from "@portcullis/core";
import { silentLogger } from "../../support/logger.js";

/** What a process with a gate is told. */
export type ChannelCommand =
  | { readonly op: "open"; readonly url: string; readonly prefix: string }
  /** Subscribes, and reports each message. */
  | { readonly op: "subscribe"; readonly after?: string | undefined }
  /** Publishes the numbers from `from`, so many. */
  | { readonly op: "publish"; readonly from: number; readonly count: number };

export type ChannelReport =
  | { readonly type: "done" }
  | { readonly type: "message"; readonly n: number; readonly id: string | undefined; readonly own: boolean }
  | { readonly type: "gap"; readonly reason: string };

let channel: Channel<number> | undefined;

function report(message: ChannelReport): void {
  process.send?.(message);
}

async function run(command: ChannelCommand): Promise<void> {
  if (command.op === "open") {
    const { url: redis, prefix } = command;
    const gate = createGate({ redis, prefix, service: "feed", deadline: 5000, logger: silentLogger }, (check) => check);
    channel = gate.channels.define("numbers", { schema: Number, reliable: true });
    await channel.lastId();
    return;
  }
  if (channel === undefined) throw new Error("not open");
  if (command.op === "subscribe") {
    const subscription = channel.subscribe((n, { id, own }) => report({ type: "message", n, id, own }), {
      after: command.after,
      onGap: (reason) => report({ type: "gap", reason }),
    });
    await subscription.ready;
    return;
  }
  for (let n = command.from; n < command.from + command.count; n += 1) await channel.publish(n);
}

process.on("message", (command: ChannelCommand) => {
  run(command).then(
    () => report({ type: "done" }),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on("disconnect", () => process.exit());
