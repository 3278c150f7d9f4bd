import type { HealthMonitor } from "../health/monitor.js";
import type { Reply } from "../http/verdict.js";
import type { Check } from "../http/check.js";
import { checkObject, optionError } from "../lib/validate.js";
import { answerAt, checkPath, readMethods, replyJson } from "./endpoint.js";

export interface HealthRouteOptions<Raw = unknown> {
  /** @default "/healthz" */
  readonly livenessPath?: string | undefined;
  /** @default "/readyz" */
  readonly readinessPath?: string | undefined;
  /**
   * Who is told the state of each dependency at the path of readiness: true for everybody who can ask, or a function of the
   * request that answers exactly true. One that throws answers no: a load balancer must not take that for a process that
   * is down. The status alone tells strangers nothing to plan an attack by.
   * @default false
   */
  readonly details?: boolean | ((raw: Raw) => boolean | Promise<boolean>) | undefined;
}

const uncached = [["Cache-Control", "no-store"]] as const;

/** Liveness: the process answers. Readiness: it would not refuse requests for an outage; 503 otherwise. */
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
