import { once } from "node:events";
import type { PortcullisOptions } from "@portcullis/core";
import { forkScript } from "../../support/fork.js";
import type { Order, Outcome } from "./issuer-process.js";

const script = new URL("./issuer-process.ts", import.meta.url);

/** A process of its own with a gate that issues tokens. */
export interface Issuer {
  readonly obey: (order: Order) => Promise<Outcome[]>;
  readonly close: () => Promise<void>;
}

/** Options must be plain data. */
export async function startIssuer(options: PortcullisOptions): Promise<Issuer> {
  const child = forkScript(script);
  const waiting = new Map<number, (answer: { outcomes?: Outcome[]; error?: string }) => void>();
  let last = 0;
  child.on("message", ({ id, ...answer }: { id: number; outcomes?: Outcome[]; error?: string }) => {
    waiting.get(id)?.(answer);
    waiting.delete(id);
  });
  const exit = once(child, "exit");

  async function obey(order: Order): Promise<Outcome[]> {
    const id = (last += 1);
    const { outcomes, error } = await new Promise<{ outcomes?: Outcome[]; error?: string }>((resolve) => {
      waiting.set(id, resolve);
      child.send({ id, order });
    });
    if (outcomes === undefined) throw new Error(error);
    return outcomes;
  }

  await obey({ call: "open", options });
  return {
    obey,
    async close() {
      if (child.exitCode === null) child.send({ id: 0, order: { call: "close" } satisfies Order });
      const timer = setTimeout(() => child.kill("SIGKILL"), 8000);
      await exit;
      clearTimeout(timer);
    },
  };
}
