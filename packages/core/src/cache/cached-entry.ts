import type { Codecs } from "./codec.js";
import { jsonLetter } from "./codec.js";
import type { StoredEntry } from "./entry.js";
import { freezeAll, freezeTree } from "./freeze.js";
import type { Generation } from "./generation.js";
import { unchanged } from "./generation.js";

export interface CachedEntryOptions {
  readonly stored: StoredEntry;
  readonly codecs: Codecs;
  /** May many requests share the value? Then it is frozen. */
  readonly isShared: boolean;
  /** When the store was asked, by a monotonic clock. */
  readonly askedAt: number;
  /** The store's clock less the monotonic one. */
  readonly offsetMs: number;
  /** How long it may be used in process without proof. */
  readonly trustMs: number;
  /** Does the store tell of changes of this key? */
  readonly tracked: boolean;
  /** Of the view and the tags, with the epochs it was read under. */
  readonly generations: readonly Generation[];
  readonly versions: readonly number[];
}

/** An entry as it is used in this process; times by a monotonic clock where nothing else is said. */
export class CachedEntry {
  /** By the store's clock. */
  readonly createdAt: number;
  readonly monotonicCreatedAt: number;
  readonly freshUntil: number;
  readonly usableUntil: number;
  readonly trustedUntil: number;
  readonly tracked: boolean;
  /** Does it say that there is nothing? */
  readonly isNegative: boolean;
  readonly size: number;
  readonly #generations: readonly Generation[];
  readonly #versions: readonly number[];
  readonly #codecs: Codecs;
  readonly #letter: string;
  #payload: string;
  #value: unknown;
  /** Is the value frozen, and the same for everybody? */
  #shared = false;
  #loaded = false;

  constructor(options: CachedEntryOptions) {
    const { stored, offsetMs, askedAt } = options;
    this.createdAt = stored.createdAt;
    this.monotonicCreatedAt = stored.createdAt - offsetMs;
    this.freshUntil = this.monotonicCreatedAt + stored.freshMs;
    this.usableUntil = this.freshUntil + stored.graceMs;
    this.trustedUntil = askedAt + options.trustMs;
    this.tracked = options.tracked;
    this.#generations = options.generations;
    this.#versions = options.versions;
    this.isNegative = stored.letter === "0";
    this.size = stored.payload.length;
    this.#codecs = options.codecs;
    this.#letter = stored.letter;
    this.#payload = stored.payload;
    this.#load(options.isShared);
  }

  /** Was it written by somebody who writes what we can read? */
  get isReadable(): boolean {
    return this.isNegative || this.#loaded;
  }

  /** The value: frozen, or one that nobody else gets. Undefined if there is nothing. */
  read(): unknown {
    if (this.#shared) return this.#value;
    if (!this.#loaded) return this.#codecs.decode(this.#letter, this.#payload);
    const value = this.#value;
    this.#loaded = false;
    this.#value = undefined;
    return value;
  }

  /** Has no generation changed since it was read? */
  isCurrent(): boolean {
    return unchanged(this.#generations, this.#versions);
  }

  #load(isShared: boolean): void {
    if (this.isNegative) {
      this.#shared = true;
      return;
    }
    this.#value = this.#codecs.decode(this.#letter, this.#payload);
    this.#loaded = this.#value !== undefined;
    this.#shared = this.#loaded && isShared && this.#freeze();
    if (this.#shared) this.#payload = "";
  }

  /** False for what cannot be frozen. */
  #freeze(): boolean {
    if (this.#letter !== jsonLetter) return freezeAll(this.#value);
    freezeTree(this.#value);
    return true;
  }
}
