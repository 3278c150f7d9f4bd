import type { Adjustment, Charge, QuotaStore } from "../ports.js";
import { kinds } from "./admission.js";
import type { RedisLike } from "./connect.js";
import { hashTag } from "./hash-tag.js";
import { adjustScript } from "./scripts/adjust.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";

export interface AdjustmentQueueOptions {
  readonly client: RedisLike;
  readonly isCluster: boolean;
  /** False while writes fail: what is lost then leaves requests counted. */
  readonly writes: () => boolean;
}

/** One line of the adjusting script. */
interface Line {
  readonly key: string;
  readonly args: readonly (string | number)[];
}

/** Corrections of one script call: more would hold up other clients of a shared Redis. */
const maxLines = 256;
/** Corrections waiting at once; more are lost. */
const maxWaiting = 16_384;

/** Corrects charges in Redis: those of one turn of the event loop in one call, in a Cluster one for each slot. */
export class AdjustmentQueue implements QuotaStore {
  readonly #options: AdjustmentQueueOptions;
  #lines: Line[] = [];

  constructor(options: AdjustmentQueueOptions) {
    this.#options = options;
  }

  adjust(adjustments: readonly Adjustment[]): void {
    for (const adjustment of adjustments) if (adjustment.by !== 0) this.#push(adjustmentLine(adjustment));
  }

  renew(charges: readonly Charge[]): void {
    for (const charge of charges) this.#push(adjustmentLine({ charge, receipt: 0, by: 1 }));
  }

  #push(line: Line): void {
    if (this.#lines.length === 0) setImmediate(() => this.#flush());
    if (this.#lines.length < maxWaiting) this.#lines.push(line);
  }

  #flush(): void {
    const lines = this.#lines;
    this.#lines = [];
    const { client, isCluster, writes } = this.#options;
    if (!writes()) return;
    for (const together of isCluster ? groupByTag(lines) : [lines]) {
      for (let start = 0; start < together.length; start += maxLines) {
        runAdjustments(client, together.slice(start, start + maxLines)).catch(() => undefined);
      }
    }
  }
}

/** Corrects charges whose keys share a slot. */
export async function adjustTogether(
  client: RedisLike,
  adjustments: readonly Adjustment[],
  script: Script = adjustScript,
): Promise<void> {
  await runAdjustments(client, adjustments.map(adjustmentLine), script);
}

async function runAdjustments(client: RedisLike, lines: readonly Line[], script = adjustScript): Promise<void> {
  const keys = lines.map(({ key }) => key);
  await runScript(
    client,
    script,
    keys,
    lines.flatMap(({ args }) => args),
  );
}

function adjustmentLine({ charge, receipt, by }: Adjustment): Line {
  const { key, limit, windowSeconds, rule, slot } = charge;
  const kind = slot !== undefined && by > 0 ? "renew" : kinds[rule?.algorithm ?? "fixed-window"];
  return { key, args: [kind, limit, windowSeconds * 1000, by, slot ?? receipt] };
}

function groupByTag(lines: readonly Line[]): Iterable<Line[]> {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const tag = hashTag(line.key);
    const group = groups.get(tag);
    if (group === undefined) groups.set(tag, [line]);
    else group.push(line);
  }
  return groups.values();
}
