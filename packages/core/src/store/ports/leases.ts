import type { StoreFault } from "./fault.js";

/** A change of the part of one quota that this process holds. */
export interface LeaseRequest {
  readonly key: string;
  /** Requests (or units of cost) per window. */
  readonly limit: number;
  /** Points to take. Fewer may be granted, and near the limit none. */
  readonly take: number;
  /** Points to give back, which were taken and not used. */
  readonly giveBack: number;
  /** The window that the points were taken from. They are given back into no other window. */
  readonly windowEnd: number;
  /** Duration of a window. */
  readonly windowMs: number;
}

export interface LeaseGrant {
  /** Points that the store has counted for this process. */
  readonly granted: number;
  /** The counter, with the granted points. */
  readonly consumed: number;
  /** Milliseconds until the window ends; 0 without a window. */
  readonly resetMs: number;
  /** The end of the window by the store's clock, which identifies the window. */
  readonly windowEnd: number;
}

/** Grants parts of quotas. */
export interface LeaseSource {
  /** Can the source be asked now? */
  isUp(): boolean;
  /** Resolves to one answer for each request, in one round trip. Rejects if the source could not be asked. */
  exchange(requests: readonly LeaseRequest[]): Promise<readonly (LeaseGrant | StoreFault)[]>;
}
