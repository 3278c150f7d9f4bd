import { createGate } from "@portcullis/core/adapter";
import { silentLogger } from "../../support/logger.js";

/** What a process with a gate is told. */
export type OneTimeCommand =
  | { readonly op: "open"; readonly url: string; readonly prefix: string }
  /** Consumes a token so many times at once. */
  | { readonly op: "consume"; readonly token: string; readonly count: number };

let gate: ReturnType<typeof createGate> | undefined;

async function run(command: OneTimeCommand): Promise<unknown> {
  if (command.op === "open") {
    const { url: redis, prefix } = command;
    gate = createGate({ redis, prefix, service: "one-time", deadline: 5000, logger: silentLogger }, (check) => check);
    return gate.oneTime.peek("warm", "x".repeat(44));
  }
  if (gate === undefined) throw new Error("not open");
  const { token, count } = command;
  const { oneTime } = gate;
  const found = await Promise.all(Array.from({ length: count }, () => oneTime.consume("confirm", token)));
  return found.filter((value) => value !== undefined);
}

process.on("message", (command: OneTimeCommand) => {
  run(command).then(
    (value) => process.send?.({ value }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit());
