import { steadyNow } from "../../lib/steady-clock.js";
import { StoreFault } from "../ports/fault.js";
import type { NewOneTimeValue, OneTimeIssued, OneTimeStore } from "../ports/one-time.js";

export interface MemoryOneTimeStoreOptions {
  /** Milliseconds of a monotonic clock. @default {@link steadyNow} */
  readonly now?: (() => number) | undefined;
  /** Maximum number of values. @default 10_000 */
  readonly values?: number | undefined;
  /** Maximum length of the contents of all values. @default 16 Mi characters */
  readonly characters?: number | undefined;
}

interface Value {
  readonly content: string;
  readonly subjectKey: string | undefined;
  endsAt: number;
  /** The id of the call that has consumed the value. */
  consumption: string | undefined;
}

/** As in Redis. */
const repeatableMs = 10_000;

/**
 * One-time values of this process. A live value is never dropped to make room for another one, since its user has got
 * the token: the new value is refused.
 */
export class MemoryOneTimeStore implements OneTimeStore {
  readonly #now: () => number;
  readonly #maxValues: number;
  readonly #maxCharacters: number;
  readonly #values = new Map<string, Value>();
  /** The keys of the values of each subject, in the order of their issue. */
  readonly #subjects = new Map<string, Set<string>>();
  #characters = 0;

  constructor({ now = steadyNow, values = 10_000, characters = 2 ** 24 }: MemoryOneTimeStoreOptions = {}) {
    this.#now = now;
    this.#maxValues = values;
    this.#maxCharacters = characters;
  }

  issue({ key, subjectKey, content, ttlMs, maxOutstanding }: NewOneTimeValue): Promise<OneTimeIssued> {
    const outstanding = subjectKey === undefined ? [] : this.#liveOf(subjectKey);
    const surplus = outstanding.slice(0, Math.max(0, outstanding.length - maxOutstanding + 1));
    if (!this.#hasRoom(content, surplus)) return Promise.reject(new StoreFault("overloaded"));
    for (const older of surplus) this.#remove(older);
    this.#remove(key);
    this.#values.set(key, { content, subjectKey, endsAt: this.#now() + ttlMs, consumption: undefined });
    this.#characters += content.length;
    if (subjectKey !== undefined) {
      const keys = this.#subjects.get(subjectKey);
      if (keys === undefined) this.#subjects.set(subjectKey, new Set([key]));
      else keys.add(key);
    }
    return Promise.resolve({ expiresAt: Date.now() + ttlMs, dropped: surplus.length });
  }

  consume(key: string, consumption: string): Promise<string | undefined> {
    const value = this.#find(key);
    if (value === undefined) return Promise.resolve(undefined);
    if (value.consumption === undefined) {
      value.consumption = consumption;
      value.endsAt = this.#now() + repeatableMs;
    }
    return Promise.resolve(value.consumption === consumption ? value.content : undefined);
  }

  peek(key: string): Promise<string | undefined> {
    const value = this.#find(key);
    return Promise.resolve(value?.consumption === undefined ? value?.content : undefined);
  }

  revoke(subjectKey: string): Promise<number> {
    const live = this.#liveOf(subjectKey);
    for (const key of live) this.#remove(key);
    return Promise.resolve(live.length);
  }

  #find(key: string): Value | undefined {
    const value = this.#values.get(key);
    if (value !== undefined && value.endsAt > this.#now()) return value;
    this.#remove(key);
    return undefined;
  }

  /** The values of a subject that are neither consumed nor expired, the oldest first. */
  #liveOf(subjectKey: string): string[] {
    const keys = [...(this.#subjects.get(subjectKey) ?? [])];
    return keys.filter((key) => {
      const value = this.#find(key);
      return value !== undefined && value.consumption === undefined;
    });
  }

  #hasRoom(content: string, surplus: readonly string[]): boolean {
    const fits = (): boolean =>
      this.#values.size - surplus.length < this.#maxValues && this.#characters + content.length <= this.#maxCharacters;
    if (fits()) return true;
    for (const key of [...this.#values.keys()]) this.#find(key);
    return fits();
  }

  #remove(key: string): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#characters -= value.content.length;
    if (value.subjectKey === undefined) return;
    const keys = this.#subjects.get(value.subjectKey);
    keys?.delete(key);
    if (keys?.size === 0) this.#subjects.delete(value.subjectKey);
  }
}
