import type { IssueRequest, PortcullisOptions } from "@portcullis/core";
import { TokenError } from "@portcullis/core";
import { createGate } from "@portcullis/core/adapter";
import { silentLogger } from "../../support/logger.js";

/** What a process with a gate is asked to do; the answers come back with the same number. */
export type Order =
  | { readonly call: "open"; readonly options: PortcullisOptions }
  | { readonly call: "issue"; readonly request: IssueRequest; readonly times: number }
  | { readonly call: "refresh"; readonly token: string; readonly times: number }
  | { readonly call: "revokeAll"; readonly subject: string }
  | { readonly call: "close" };

/** How one call ended. */
export interface Outcome {
  readonly ok: boolean;
  readonly accessToken?: string;
  readonly refreshToken?: string;
  readonly sessionId?: string;
  /** The code of an error. */
  readonly code?: string;
}

let gate: ReturnType<typeof createGate<unknown, object>> | undefined;

async function outcomeOf(call: () => Promise<Partial<Outcome>>): Promise<Outcome> {
  try {
    const { accessToken = "", refreshToken = "", sessionId = "" } = await call();
    return { ok: true, accessToken, refreshToken, sessionId };
  } catch (error) {
    return { ok: false, code: error instanceof TokenError ? error.code : String((error as { code?: unknown }).code) };
  }
}

async function obey(order: Order): Promise<Outcome[]> {
  if (order.call === "open") {
    gate = createGate<unknown, object>({ ...order.options, logger: silentLogger }, () => ({}));
    return [];
  }
  const open = gate;
  if (open === undefined) throw new Error("the gate is not open");
  switch (order.call) {
    case "issue":
      return Promise.all(Array.from({ length: order.times }, () => outcomeOf(() => open.tokens.issue(order.request))));
    case "refresh":
      return Promise.all(Array.from({ length: order.times }, () => outcomeOf(() => open.tokens.refresh(order.token))));
    case "revokeAll":
      await open.sessions.revokeAll(order.subject);
      return [];
    case "close":
      await open.close();
      process.disconnect();
      return [];
  }
}

process.on("message", ({ id, order }: { id: number; order: Order }) => {
  obey(order).then(
    (outcomes) => process.connected && process.send?.({ id, outcomes }),
    (error: unknown) => process.connected && process.send?.({ id, error: String(error) }),
  );
});
