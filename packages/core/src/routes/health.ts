import type { HealthMonitor } from "../health.js";
import type { Check } from "../http/verdict.js";
import { checkObject, optionError } from "../options/validate.js";
import { answerAt, checkPath, readMethods, replyJson } from "./route.js";

export interface HealthRouteOptions {
  /** @default "/healthz" */
  readonly livenessPath?: string | undefined;
  /** @default "/readyz" */
  readonly readinessPath?: string | undefined;
}

const uncached = [["Cache-Control", "no-store"]] as const;

/** Liveness: the process answers. Readiness: it would not refuse requests for an outage; 503 otherwise. */
export function healthRoutes<Raw>(options: HealthRouteOptions, monitor: HealthMonitor<Raw>): Check<Raw> {
  checkObject("health()", options, ["livenessPath", "readinessPath"]);
  const { livenessPath = "/healthz", readinessPath = "/readyz" } = options;
  checkPath("health().livenessPath", livenessPath);
  checkPath("health().readinessPath", readinessPath);
  if (livenessPath === readinessPath) throw optionError("health()", "needs two different paths");
  const alive = replyJson(200, { status: "up" }, uncached);
  return answerAt(
    { methods: readMethods, path: livenessPath, answer: () => alive },
    {
      methods: readMethods,
      path: readinessPath,
      answer() {
        const { ready, status } = monitor.readiness();
        const { store, keys } = monitor.read();
        return replyJson(ready ? 200 : 503, { status, dependencies: { store, keys: { status: keys } } }, uncached);
      },
    },
  );
}
