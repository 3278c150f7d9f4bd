import type { Redis } from "ioredis";

/**
 * A resource that checks fences, apart from the locks: a counter, the highest fence it has seen, and a log of who has
 * written with which fence. Reading claims the resource for the fence, as the write rests on what was read.
 */
const readScript = `
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if tonumber(ARGV[1]) < last then return -1 end
redis.call('SET', KEYS[2], ARGV[1])
return tonumber(redis.call('GET', KEYS[1]) or '0')`;

const writeScript = `
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if tonumber(ARGV[1]) < last then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[3], ARGV[1] .. ' ' .. ARGV[3])
return 1`;

export class FencedResource {
  readonly #redis: Redis;
  readonly #keys: readonly [string, string, string];

  constructor(redis: Redis, name: string) {
    this.#redis = redis;
    this.#keys = [`${name}value`, `${name}fence`, `${name}log`];
  }

  /** The value; undefined if a higher fence was seen. */
  async read(fence: number): Promise<number | undefined> {
    const [value, seen] = this.#keys;
    const found = Number(await this.#redis.eval(readScript, 2, value, seen, fence));
    return found === -1 ? undefined : found;
  }

  /** False if a higher fence was seen. */
  async write(fence: number, value: number, writer: string): Promise<boolean> {
    return (await this.#redis.eval(writeScript, 3, ...this.#keys, fence, value, writer)) === 1;
  }

  async value(): Promise<number> {
    return Number((await this.#redis.get(this.#keys[0])) ?? 0);
  }

  /** All accepted writes, in order. */
  async log(): Promise<{ readonly fence: number; readonly writer: string }[]> {
    const lines = await this.#redis.lrange(this.#keys[2], 0, -1);
    return lines.map((line) => {
      const [fence = "", writer = ""] = line.split(" ");
      return { fence: Number(fence), writer };
    });
  }
}
