import type { CountingAlgorithm } from "./counting-algorithm.js";
import type { Algorithm } from "../ports/decisions.js";
import { slidingWindow } from "./sliding-window.js";
import { slots } from "./slots.js";
import { tokenBucket } from "./token-bucket.js";

/** Every algorithm but the fixed window, which the table of counters knows itself. */
export const algorithms: Readonly<Record<Exclude<Algorithm, "fixed-window">, CountingAlgorithm<unknown>>> = {
  "sliding-window": slidingWindow,
  "token-bucket": tokenBucket,
  concurrency: slots,
};
