import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import { checkInteger, checkObject, checkOneOf, checkString, optionError } from "../lib/validate.js";

/** What decides about a token while the store cannot say whether it is revoked. */
export type RevocationPolicy = "deny" | "allow" | { readonly graceMs: number };

export interface RevocationOptions {
  /**
   * `"deny"` answers 503; `"allow"` lets a token pass unless this process knows it to be revoked; `{ graceMs }` allows
   * for that long after the store's last answer and then denies.
   * @default "deny"
   */
  readonly onStoreError?: RevocationPolicy | undefined;
  /**
   * `"asked"` asks Redis at every request; `"tracked"` keeps the answer "not revoked" in this process until Redis says that
   * it changed, so that a revocation elsewhere may take up to `staleness` to be seen here.
   * @default "asked"
   */
  readonly check?: "asked" | "tracked" | undefined;
  /** With `check: "tracked"`: the longest that an answer is kept, and so the bound of what a revocation may take. @default "2s" */
  readonly staleness?: Duration | undefined;
  /**
   * When Redis has lost data (FLUSHALL, a restart without persistence): `"report"` counts and logs it and goes on, `"deny"`
   * answers 503 until the data is back or the process is started anew.
   * @default "report"
   */
  readonly onDataLoss?: "report" | "deny" | undefined;
  /**
   * How far the clock of another issuer may be ahead of the store's: a cut-off also revokes its tokens whose `iat` is up to
   * this much later, and so refuses a sign-in within it. Tokens of `tokens` take their time from the store and need none.
   * `0` where the issuer does the same, as another gate does. @default `auth.clockTolerance`
   */
  readonly cutoffMargin?: Duration | undefined;
  /**
   * The claim, or its path, that names the organisation whose tokens `sessions.revokeGroup(org)` ends: text or an integer.
   * @default "org_id"
   */
  readonly orgClaim?: string | undefined;
}

export interface ResolvedRevocation {
  readonly onStoreError: RevocationPolicy;
  readonly onDataLoss: "report" | "deny";
  /** Undefined: every request asks. */
  readonly trackedMs: number | undefined;
  readonly orgClaim: string;
  /** Undefined: the clock tolerance. */
  readonly cutoffMarginSeconds: number | undefined;
}

/** A clock that is further ahead is to be set right: every sign-in within the margin is refused. */
const maxCutoffMarginMs = 3_600_000;

export function resolveRevocation(options: RevocationOptions): ResolvedRevocation {
  checkObject("revocation", options, [
    ...["onStoreError", "check", "staleness", "onDataLoss", "orgClaim", "cutoffMargin"],
  ]);
  const { onStoreError = "deny", check = "asked", staleness, onDataLoss = "report", orgClaim = "org_id" } = options;
  const { cutoffMargin } = options;
  checkString("revocation.orgClaim", orgClaim);
  checkRevocationPolicy("revocation.onStoreError", onStoreError);
  checkOneOf("revocation.check", check, ["asked", "tracked"]);
  checkOneOf("revocation.onDataLoss", onDataLoss, ["report", "deny"]);
  if (check === "asked" && staleness !== undefined)
    throw optionError("revocation.staleness", 'has no meaning without check: "tracked": every request asks');
  const trackedMs = check === "tracked" ? durationMs("revocation.staleness", staleness ?? "2s", 60_000) : undefined;
  const margin =
    cutoffMargin === undefined || cutoffMargin === 0
      ? cutoffMargin
      : durationMs("revocation.cutoffMargin", cutoffMargin, maxCutoffMarginMs) / 1000;
  return { onStoreError, onDataLoss, trackedMs, orgClaim, cutoffMarginSeconds: margin };
}

export function checkRevocationPolicy(option: string, policy: unknown): asserts policy is RevocationPolicy {
  if (typeof policy !== "object") return checkOneOf(option, policy, ["deny", "allow"]);
  checkObject(option, policy, ["graceMs"]);
  checkInteger(`${option}.graceMs`, (policy as { graceMs?: unknown }).graceMs, 1, 86_400_000);
}
