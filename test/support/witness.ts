import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import { testSecret } from "@portcullis/testkit";
import { events } from "@portcullis/core";
import type { Logger } from "@portcullis/core";
import { expect } from "chai";
import type { AnyGate } from "./app.js";

/** The password of every Redis in this suite that has one. */
export const redisPassword = "seeded-redis-password";
/** The key secret of every gate in this suite. */
export const keySecret = "seeded-key-secret";

/** Hears all that gates say, in logs, events and metrics, and knows what they must never say. */
export interface Witness {
  readonly logger: Logger;
  readonly lines: readonly string[];
  /** What this gate tells Prometheus is heard as well. */
  hearMetrics(gate: AnyGate): void;
  /** Fails if a secret was said, or one of these; then stops listening. */
  finish(...secrets: readonly string[]): void;
}

export function startWitness(): Witness {
  const lines: string[] = [];
  const note = (...message: unknown[]): void => void lines.push(inspect(message, { depth: 8, maxStringLength: null }));
  const hear = (message: unknown): void => note(message);
  const channels = Object.values(events).filter((channel) => "publish" in channel && typeof channel.name === "string");
  for (const { name } of channels) subscribe(name, hear);
  return {
    logger: { debug: note, warn: note },
    lines,
    hearMetrics: (gate) => note(gate.metrics(), gate.health()),
    finish(...secrets) {
      for (const { name } of channels) unsubscribe(name, hear);
      const all = lines.join("\n");
      for (const secret of [testSecret, redisPassword, keySecret, ...secrets]) expect(all).to.not.include(secret);
    },
  };
}
