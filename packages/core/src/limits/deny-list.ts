import type { Exchange } from "../http/exchange.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { Policy } from "./policy.js";

/** The refusal of an address that one of these policies does not accept; nothing is counted for it. */
export function findBlocked<Raw>(
  policies: readonly Policy<Raw>[],
  exchange: Exchange<Raw>,
  telemetry: Telemetry,
): Denied | undefined {
  let denial: Denied | undefined;
  for (const policy of policies) {
    if (policy.when?.(exchange) === false || policy.deny?.has(exchange.ip) !== true) continue;
    const { name, algorithm, shadow } = policy;
    telemetry.limited({ quota: { policy: name, algorithm, shadow }, blocked: true });
    if (!shadow) denial ??= deny("blocked", { cause: "the address is on a deny list" });
  }
  return denial;
}
