import type { BlockRule, Consumption } from "../ports/decisions.js";
import { BoundedTable } from "./bounded.js";
import type { Entry } from "./bounded.js";

/** The block of a client. Its weight is 1 while the client is blocked, so that it is not dropped then. */
interface Block extends Entry {
  until: number;
  level: number;
  strikes: number;
  strikesEnd: number;
}

/** Maximum number of clients whose refusals are kept. */
const maxClients = 10_000;
const maxLevel = 40;

/** The blocked clients of this process, and the refusals that may lead to a block. */
export class BlockTable {
  readonly #now: () => number;
  readonly #blocks: BoundedTable<Block>;

  constructor(now: () => number) {
    this.#now = now;
    this.#blocks = new BoundedTable({ now, capacity: maxClients });
  }

  /** Milliseconds until a block ends; 0 for a client that is not blocked. */
  blockedMs(blockKey: string): number {
    const block = this.#blocks.get(blockKey);
    return block === undefined ? 0 : Math.max(0, block.until - this.#now());
  }

  /** Blocks a client, as an operator does. */
  block(blockKey: string, lifeMs: number): void {
    this.unblock(blockKey);
    const until = this.#now() + lifeMs;
    this.#blocks.add({ ...createBlock(blockKey, undefined), until, endsAt: until, level: 1, weight: 1 });
  }

  /** Drops the block of a client, with the refusals before it. */
  unblock(blockKey: string): void {
    const known = this.#blocks.get(blockKey);
    if (known !== undefined) this.#blocks.remove(known);
  }

  /** Notes a refusal. Returns how long the client is blocked for it; 0 if not yet. */
  strike({ windowSeconds, owner }: Consumption, blockKey: string, rule: BlockRule): number {
    const now = this.#now();
    const known = this.#blocks.get(blockKey);
    const block = known !== undefined && known.endsAt > now ? known : createBlock(blockKey, owner);
    const next = strikeAt(block, now, windowSeconds, rule);
    Object.assign(block, next.block);
    block.weight = block.until > now ? 1 : 0;
    block.endsAt = Math.max(block.until, block.strikesEnd) + rule.maxMs;
    if (block !== known) {
      if (known !== undefined) this.#blocks.remove(known);
      this.#blocks.add(block);
    }
    return next.blockedMs;
  }

  /** How long a client that is refused now would be blocked; 0 if not. Changes nothing. */
  preview({ windowSeconds, blockKey, mode }: Consumption): number {
    const rule = mode?.block;
    if (blockKey === undefined || rule === undefined || rule.after === 0) return 0;
    const now = this.#now();
    const known = this.#blocks.get(blockKey);
    if (known !== undefined && known.until > now)
      return rule.extends === true ? Math.max(known.until - now, lengthOf(known.level, rule)) : known.until - now;
    const block = known !== undefined && known.endsAt > now ? known : createBlock(blockKey, undefined);
    return strikeAt(block, now, windowSeconds, rule).blockedMs;
  }

  /** Begins the block of a client again. Returns the milliseconds until it ends; 0 for a client that is not blocked. */
  extend(blockKey: string, rule: BlockRule): number {
    const now = this.#now();
    const block = this.#blocks.get(blockKey);
    if (block === undefined || block.until <= now) return 0;
    const { maxMs } = rule;
    block.until = Math.max(block.until, now + lengthOf(block.level, rule));
    block.endsAt = Math.max(block.endsAt, block.until + maxMs, block.strikesEnd + maxMs);
    return block.until - now;
  }
}

type Strikes = Pick<Block, "until" | "level" | "strikes" | "strikesEnd">;

/** The block after one more refusal, and how long it blocks for that; 0 if not yet. */
function strikeAt(
  { until, level, strikes, strikesEnd }: Strikes,
  now: number,
  windowSeconds: number,
  rule: BlockRule,
): { readonly block: Strikes; readonly blockedMs: number } {
  const isOver = strikesEnd <= now;
  const block = {
    until,
    level,
    strikes: isOver ? 1 : strikes + 1,
    strikesEnd: isOver ? now + windowSeconds * 1000 : strikesEnd,
  };
  if (block.strikes < rule.after) return { block, blockedMs: 0 };
  const next = Math.min(level + 1, maxLevel);
  const blockedMs = lengthOf(next, rule);
  return { block: { ...block, level: next, strikes: 0, until: now + blockedMs }, blockedMs };
}

/** The duration of a block at this level. */
function lengthOf(level: number, { firstMs, maxMs }: BlockRule): number {
  return Math.min(firstMs * 2 ** (Math.max(level, 1) - 1), maxMs);
}

function createBlock(key: string, owner: string | undefined): Block {
  const entry: Entry = { key, owner, endsAt: 0, weight: 0, pinnedFrom: 1, position: 0, ownerPosition: 0 };
  return { ...entry, until: 0, level: 0, strikes: 0, strikesEnd: 0 };
}
