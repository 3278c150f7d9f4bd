import type { StoreFault } from "./decisions.js";

/** What a process wants to change about its part of one quota. */
export interface LeaseRequest {
  readonly key: string;
  /** Requests (or units of cost) per window. */
  readonly limit: number;
  /** Points to take; fewer may be granted, near the limit none. */
  readonly take: number;
  /** Points that were taken and not used. */
  readonly giveBack: number;
  /** The window that they were taken from; into no other are they given back. */
  readonly windowEnd: number;
  /** How long a window lasts. */
  readonly windowMs: number;
}

export interface LeaseGrant {
  /** Already counted by the store. */
  readonly granted: number;
  /** The counter, with what was granted. */
  readonly consumed: number;
  /** Milliseconds until the window ends; 0 if there is none. */
  readonly resetMs: number;
  /** When the window ends by the store's clock: what tells it from others. */
  readonly windowEnd: number;
}

/** Where parts of quotas come from. */
export interface LeaseSource {
  /** Can it be asked now? */
  isUp(): boolean;
  /** One answer for each request, in one round trip. Rejects if nothing could be asked. */
  exchange(requests: readonly LeaseRequest[]): Promise<readonly (LeaseGrant | StoreFault)[]>;
}
