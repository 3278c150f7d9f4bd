import type { Algorithm } from "../store/ports/decisions.js";

/** The state of one policy after this request: a member of `quotas` for handlers. */
export interface Quota {
  /** Name of the policy. */
  readonly policy: string;
  /** Algorithm of the policy. */
  readonly algorithm: Algorithm;
  /** Requests (or units of cost) per window; for `concurrency`, requests at once. */
  readonly limit: number;
  /** For `concurrency`: how long a slot is held after its process died. */
  readonly windowSeconds: number;
  /** Requests (or units of cost) that are left. */
  readonly remaining: number;
  /** Seconds until more is available. */
  readonly resetSeconds: number;
  /** Is the limit exceeded? Handlers see true only for a policy in shadow, which refuses nothing; error handlers for the others too. */
  readonly exceeded: boolean;
  /** Is the policy only measured? */
  readonly shadow: boolean;
}
