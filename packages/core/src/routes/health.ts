import type { HealthMonitor } from "../health/monitor.js";
import type { Reply } from "../http/verdict.js";
import type { Check } from "../request/state.js";
import { checkObject, optionError } from "../lib/validate.js";
import { answerAt, checkPath, readMethods, replyJson } from "./endpoint.js";

/** Options of `routes.health()`. */
export interface HealthRouteOptions<Raw = unknown> {
  /** Path of the liveness check. @default "/healthz" */
  readonly livenessPath?: string | undefined;
  /** Path of the readiness check. @default "/readyz" */
  readonly readinessPath?: string | undefined;
  /**
   * Adds the state of each dependency to the readiness response: `true` for every client, or a function of the request that
   * returns exactly true. A function that throws counts as false, so that a load balancer does not see a failure. The state
   * of dependencies could help an attacker.
   * @default false
   */
  readonly details?: boolean | ((raw: Raw) => boolean | Promise<boolean>) | undefined;
}

const uncached = [["Cache-Control", "no-store"]] as const;

/** Liveness: 200 while the process runs. Readiness: 503 while an outage makes the gate refuse requests, else 200. */
export function healthRoutes<Raw>(options: HealthRouteOptions<Raw>, monitor: HealthMonitor<Raw>): Check<Raw> {
  checkObject("health()", options, ["livenessPath", "readinessPath", "details"]);
  const { livenessPath = "/healthz", readinessPath = "/readyz", details = false } = options;
  checkPath("health().livenessPath", livenessPath);
  checkPath("health().readinessPath", readinessPath);
  if (livenessPath === readinessPath) throw optionError("health()", "needs two different paths");
  if (typeof details !== "boolean" && typeof details !== "function")
    throw optionError("health().details", "must be true, false, or a function of the request that answers true");
  const alive = replyJson(200, { status: "up" }, uncached);

  function replyReadiness(detailed: boolean): Reply {
    const { ready, status } = monitor.readiness();
    const { store, keys } = monitor.read();
    const dependencies = detailed ? { store, keys: { status: keys } } : undefined;
    return replyJson(ready ? 200 : 503, { status, dependencies }, uncached);
  }

  async function replyWithDetailsIf(isAllowed: Exclude<typeof details, boolean>, raw: Raw): Promise<Reply> {
    try {
      const answer: unknown = await isAllowed(raw);
      return replyReadiness(answer === true);
    } catch {
      return replyReadiness(false);
    }
  }

  return answerAt(
    { methods: readMethods, path: livenessPath, answer: () => alive },
    {
      methods: readMethods,
      path: readinessPath,
      answer: ({ raw }) => (typeof details === "boolean" ? replyReadiness(details) : replyWithDetailsIf(details, raw)),
    },
  );
}
