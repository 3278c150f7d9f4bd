import type { RateLimitItem } from "../http/fields.js";
import type { Algorithm } from "../store/ports/decisions.js";

/** The state of one policy after this request, as handlers see it. */
export interface Quota extends RateLimitItem {
  readonly policy: string;
  readonly algorithm: Algorithm;
  /** Requests (or units of cost) per window; of `concurrency`, requests at once. */
  readonly limit: number;
  /** Of `concurrency`: how long a slot is held when its process dies. */
  readonly windowSeconds: number;
  readonly remaining: number;
  /** Seconds until more is available. */
  readonly resetSeconds: number;
  /** Is it over its limit? Handlers see that of a policy in shadow only, which refuses nothing. */
  readonly exceeded: boolean;
  /** Is it only measured? */
  readonly shadow: boolean;
}
