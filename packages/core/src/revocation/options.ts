import type { ClaimPath } from "../auth/identifying-claim.js";
import { resolveClaimPath } from "../auth/identifying-claim.js";
import type { Duration } from "../lib/duration.js";
import { durationMs } from "../lib/duration.js";
import type { RevocationTest } from "./own-check.js";
import { checkFunction, checkInteger, checkObject, checkOneOf, optionError } from "../lib/validate.js";

/** Policy for tokens while the store cannot tell whether they are revoked. */
export type RevocationPolicy = "deny" | "allow" | { readonly graceMs: number };

/** Options of revocation. */
export interface RevocationOptions {
  /**
   * Policy while the store cannot answer: `"deny"` answers 503; `"allow"` accepts a token unless this process knows that it is
   * revoked; `{ graceMs }` allows for that long after the last answer of the store and then denies.
   * @default "deny"
   */
  readonly onStoreError?: RevocationPolicy | undefined;
  /**
   * `"asked"` asks Redis at every request. `"tracked"` keeps the answer "not revoked" in this process until Redis tells that it
   * changed; a revocation by another process may then take up to `staleness` to take effect here.
   * @default "asked"
   */
  readonly check?: "asked" | "tracked" | undefined;
  /** With `check: "tracked"`: maximum age of a kept answer, and so the maximum delay of a revocation. @default "2s" */
  readonly staleness?: Duration | undefined;
  /**
   * Policy after Redis lost data (FLUSHALL, a restart without persistence): `"report"` counts and logs the loss and goes on;
   * `"deny"` answers 503 until the data is back or the process restarts.
   * @default "report"
   */
  readonly onDataLoss?: "report" | "deny" | undefined;
  /**
   * Maximum time that the clock of another issuer may be ahead of the clock of the store. A cut-off also revokes tokens of that
   * issuer whose `iat` is up to this much later, and so refuses sign-ins within this time. Tokens of `tokens` take their time
   * from the store and need no margin. Set `0` if the issuer does the same, as another gate does.
   * @default `auth.clockTolerance`
   */
  readonly cutoffMargin?: Duration | undefined;
  /**
   * Claim that names the organisation, or its path ({@link ClaimPath}): text or an integer. `sessions.revokeGroup(org)` ends the tokens of an
   * organisation.
   * @default "org_id"
   */
  readonly orgClaim?: ClaimPath | undefined;
  /**
   * A function that looks up tokens in records of the application too. It is asked at every request, after the records of the
   * gate, within the `deadline` of the gate. `true` refuses the token; an error, or no answer in time, counts as a store that
   * cannot answer (`onStoreError`). Open connections do not ask it. @default none
   */
  readonly isRevoked?: RevocationTest | undefined;
}

/** The options of revocation after they were checked. */
export interface ResolvedRevocation {
  readonly onStoreError: RevocationPolicy;
  readonly onDataLoss: "report" | "deny";
  /** Maximum age of a kept answer; undefined if every request asks. */
  readonly trackedMs: number | undefined;
  readonly orgClaim: string;
  readonly isRevoked: RevocationTest | undefined;
  /** Undefined: the clock tolerance. */
  readonly cutoffMarginSeconds: number | undefined;
}

/** A clock that is further ahead must be corrected: every sign-in within the margin is refused. */
const maxCutoffMarginMs = 3_600_000;

const knownOptions = ["onStoreError", "check", "staleness", "onDataLoss", "orgClaim", "cutoffMargin", "isRevoked"];

export function resolveRevocation(options: RevocationOptions): ResolvedRevocation {
  checkObject("revocation", options, knownOptions, '{ check: "tracked" } (without it, the defaults hold)');
  const { onStoreError = "deny", check = "asked", staleness, onDataLoss = "report", orgClaim = "org_id" } = options;
  const { cutoffMargin, isRevoked } = options;
  if (isRevoked !== undefined) checkFunction("revocation.isRevoked", isRevoked);
  checkRevocationPolicy("revocation.onStoreError", onStoreError);
  checkOneOf("revocation.check", check, ["asked", "tracked"]);
  checkOneOf("revocation.onDataLoss", onDataLoss, ["report", "deny"]);
  if (check === "asked" && staleness !== undefined)
    throw optionError("revocation.staleness", 'has no effect without check: "tracked"');
  const trackedMs = check === "tracked" ? durationMs("revocation.staleness", staleness ?? "2s", 60_000) : undefined;
  const margin =
    cutoffMargin === undefined || cutoffMargin === 0
      ? cutoffMargin
      : durationMs("revocation.cutoffMargin", cutoffMargin, maxCutoffMarginMs) / 1000;
  return {
    onStoreError,
    onDataLoss,
    trackedMs,
    orgClaim: resolveClaimPath("revocation.orgClaim", orgClaim),
    cutoffMarginSeconds: margin,
    isRevoked,
  };
}

export function checkRevocationPolicy(option: string, policy: unknown): asserts policy is RevocationPolicy {
  if (typeof policy !== "object") return checkOneOf(option, policy, ["deny", "allow"]);
  checkObject(option, policy, ["graceMs"]);
  checkInteger(`${option}.graceMs`, (policy as { graceMs?: unknown }).graceMs, 1, 86_400_000);
}
