import { isAscii } from "node:buffer";
import type { LRUCache } from "lru-cache";
import { GrowingLru } from "../lib/growing-lru.js";
import type { Reply } from "../http/verdict.js";
import { cacheChannel, readEvent } from "../store/ports/cache.js";
import type { Channels } from "../store/ports/channels.js";
import { PurgeLog } from "./purge-log.js";
import { answerFromStored } from "./answers.js";
import type { Handling } from "./cache-status.js";
import { secondsLeft } from "./freshness.js";
import type { StoredResponse } from "./stored-response.js";
import { tagName } from "./tags.js";
import { entityTag } from "./validators.js";

export interface LocalResponsesOptions {
  /** The maximum number of responses. */
  readonly entries: number;
  /** The maximum size of all responses with their keys. */
  readonly bytes: number;
  /** How long a response is used after it was read from the store. */
  readonly ttlMs: number;
  readonly channels: Channels;
  /** True for the key of a tag of responses: messages about other keys are ignored. */
  readonly isTagKey: (key: string) => boolean;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
}

/** A response in this process. */
export interface LocalResponse {
  readonly response: StoredResponse;
  /** The body as it is sent: text where that changes no byte of the answer. */
  readonly body: string | Uint8Array;
  /** The keys of its tags, and its primary key. */
  readonly keys: readonly string[];
  /** The names that the application gave its tags. */
  readonly names: readonly string[];
  readonly until: number;
  /** The last purge that it has survived. */
  purge: number;
  touchedAt: number;
  /** The last answer to a request without preconditions, which many requests get. */
  answer: LocalAnswer | undefined;
  /** The text that was sent last for it, after middleware in front, and its entity tag. */
  tagged: { readonly body: string; readonly kind: "weak" | "strong"; readonly etag: string } | undefined;
}

export interface LocalAnswer {
  readonly reply: Reply;
  /** As the framework sends it, or directly with the entity tag of this kind. */
  readonly how: "usual" | "untagged" | "weak" | "strong";
  /** The answer depends on the name of the cache, the age in seconds, and the seconds until it is stale. */
  readonly name: string | false;
  readonly age: number;
  readonly ttl: number;
}

/** In the place of responses: the request fields that select one of several. */
export interface LocalVary {
  readonly vary: readonly string[];
  readonly until: number;
  touchedAt: number;
}

/** A response that was read from the store. */
export interface ReadResponse {
  /** The key of the request without `Vary`, and with it. */
  readonly text: string;
  readonly variantText: string;
  readonly response: StoredResponse;
  /** The keys of its tags, and its primary key. */
  readonly keys: readonly string[];
  /** The time before the read, and {@link LocalResponses.purges} then. */
  readonly askedAt: number;
  readonly purge: number;
}

/** The LRU order counts several uses of a response within this time as one. */
const touchIntervalMs = 100;

/** A response takes about this much besides its body, its fields and its keys. */
const overheadBytes = 1000;

/**
 * Responses in this process, bounded by number and by bytes. Each is used for `ttlMs` after it was read from the store, unless
 * a purge of one of its tags becomes known here before: by this process, or by a message of another one. A gap in the messages
 * ends all of them. So whatever happens to the messages, a purged response is used for `ttlMs` at most.
 */
export class LocalResponses {
  /** The order and the bounds. */
  readonly #order: LRUCache<string, LocalResponse | LocalVary>;
  /** The same: to read a Map takes less time. */
  readonly #kept = new Map<string, LocalResponse | LocalVary>();
  readonly #ttlMs: number;
  readonly #channels: Channels;
  readonly #isTagKey: (key: string) => boolean;
  readonly #monotonic: () => number;
  readonly #purges = new PurgeLog();
  #unsubscribe: (() => void) | undefined;
  #isClosed = false;

  constructor({ entries, bytes, ttlMs, channels, isTagKey, monotonic }: LocalResponsesOptions) {
    this.#order = new GrowingLru({
      ...{ max: entries, maxSize: bytes, sizeCalculation: sizeOf },
      dispose: (kept, text) => {
        if (this.#kept.get(text) === kept) this.#kept.delete(text);
      },
    });
    this.#ttlMs = ttlMs;
    this.#channels = channels;
    this.#isTagKey = isTagKey;
    this.#monotonic = monotonic;
  }

  /** The number of the last purge. Read it before the store is asked. */
  get purges(): number {
    return this.#purges.count;
  }

  /** The response under a key, or the fields that select one; undefined if the store must be asked. */
  get(text: string): LocalResponse | LocalVary | undefined {
    const kept = this.#kept.get(text);
    if (kept === undefined) return undefined;
    const now = this.#monotonic();
    if (now >= kept.until || ("response" in kept && !this.#survives(kept))) {
      this.#order.delete(text);
      return undefined;
    }
    if (now - kept.touchedAt > touchIntervalMs) {
      kept.touchedAt = now;
      this.#order.get(text);
    }
    return kept;
  }

  keep({ text, variantText, response, keys, askedAt, purge }: ReadResponse): void {
    if (this.#isClosed) return;
    // A gap follows when the subscription begins: it ends what was read before.
    this.#unsubscribe ??= this.#channels.subscribe(
      cacheChannel,
      (message, own) => this.#onMessage(message, own),
      () => this.flush(),
    );
    const common = { until: askedAt + this.#ttlMs, touchedAt: askedAt };
    // A small buffer is part of a larger one, which would stay in memory with it.
    const own = { ...response, body: Uint8Array.prototype.slice.call(response.body) };
    const names = response.generations.map(([tag]) => tagName(tag)).filter((name) => name !== undefined);
    const known = { response: own, body: bodyOf(own), keys, names, purge };
    const kept: LocalResponse = { ...common, ...known, answer: undefined, tagged: undefined };
    if (!this.#survives(kept)) return;
    if (text !== variantText) this.#set(text, { ...common, vary: response.vary });
    this.#set(variantText, kept);
  }

  /** Ends the responses that depend on this key. */
  end(key: string): void {
    this.#purges.note(key);
  }

  /** Ends all responses, and those that are being read. */
  flush(): void {
    this.#purges.noteAll();
    this.#order.clear();
  }

  close(): void {
    this.#isClosed = true;
    this.#unsubscribe?.();
    this.flush();
  }

  #set(text: string, kept: LocalResponse | LocalVary): void {
    this.#order.set(text, kept);
    // What is larger than all of the tier is not kept.
    if (this.#order.has(text)) this.#kept.set(text, kept);
  }

  #onMessage(message: string, own: boolean): void {
    const event = own ? undefined : readEvent(message);
    if (event?.news === "deleted" && this.#isTagKey(event.key)) this.end(event.key);
  }

  /** True if no purge of its tags is known that came after it was read. */
  #survives(kept: LocalResponse): boolean {
    const { count } = this.#purges;
    if (kept.purge === count) return true;
    for (const key of kept.keys) if (this.#purges.lastOf(key) > kept.purge) return false;
    kept.purge = count;
    return true;
  }
}

/** Larger bodies are not kept as text, too. */
const maxTextBytes = 65_536;

/** Text is sent faster than bytes: together with the head. */
function bodyOf({ form, body, fields }: StoredResponse): string | Uint8Array {
  if (body.byteLength > maxTextBytes) return body;
  // Node writes the fields in the encoding of the text, so that text must be the same bytes in all encodings.
  const isSent = form === "whole" || form === "parts";
  const isText = isSent ? isAscii(body) && fields.every(([, value]) => isAscii(Buffer.from(value))) : isHeldText(form);
  return isText ? Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString() : body;
}

/** True if the framework gets text or a value from JSON. */
function isHeldText(form: StoredResponse["form"]): boolean {
  return form === "json" || form === "text";
}

function sizeOf(kept: LocalResponse | LocalVary, text: string): number {
  const key = 2 * text.length;
  if (!("response" in kept)) return overheadBytes + key + 2 * lengthOf(kept.vary);
  const { response, body, keys } = kept;
  const { fields, vary, removed, generations } = response;
  const texts = [fields.flat(), vary, removed, generations.flat(), keys].reduce((sum, all) => sum + lengthOf(all), 0);
  // The answer repeats the fields, and the tagged body repeats the body.
  const textBytes = typeof body === "string" ? 4 * body.length : 0;
  return overheadBytes + key + 4 * texts + response.body.byteLength + textBytes;
}

function lengthOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length, 0);
}

/** The answer to a request without preconditions. All requests of one second get the same one. */
export function answerOf(kept: LocalResponse, name: string | false, age: number): Reply {
  return knownAnswer(kept, "usual", name, age) ?? remember(kept, "usual", name, age, replyOf(kept, name, age));
}

/** True for a response that a framework would send as it is, if no middleware in front changes it. */
export function mayBeSentDirectly({ status, form }: StoredResponse): boolean {
  return isHeldText(form) && status === 200;
}

export interface DirectOptions {
  readonly name: string | false;
  readonly age: number;
  readonly handling: Handling;
  readonly etag: "weak" | "strong" | false;
}

/** The answer with the fields that the framework and the end of the response would add. */
export function directReply(response: StoredResponse, options: DirectOptions, kept?: LocalResponse): Reply {
  const { age, name, handling, etag } = options;
  const { body: bytes } = response;
  const text = kept?.body ?? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
  const reply = answerFromStored(response, undefined, { age, name, handling });
  const headers = reply.headers.filter(([field]) => field !== "content-length");
  const isTagged = headers.some(([field]) => field === "etag");
  const tag = etag === false || isTagged ? undefined : entityTagOfSent(text, etag, kept);
  if (tag !== undefined) headers.push(["etag", tag]);
  headers.push(["content-length", String(bytes.byteLength)]);
  return { ...reply, headers, body: text, form: "whole" };
}

/** The same for a request without preconditions that gets a response in process. */
export function directAnswerOf(
  kept: LocalResponse,
  name: string | false,
  age: number,
  etag: "weak" | "strong" | false,
): Reply {
  const how = etag === false ? "untagged" : etag;
  const known = knownAnswer(kept, how, name, age);
  return known ?? remember(kept, how, name, age, directReply(kept.response, { name, age, handling: {}, etag }, kept));
}

function replyOf({ response, body }: LocalResponse, name: string | false, age: number): Reply {
  return { ...answerFromStored(response, undefined, { age, name, handling: {} }), body };
}

function knownAnswer(
  { response, answer }: LocalResponse,
  how: LocalAnswer["how"],
  name: string | false,
  age: number,
): Reply | undefined {
  const isSame = answer?.how === how && answer.name === name && answer.age === Math.floor(age);
  return isSame && answer.ttl === secondsLeft(response, age) ? answer.reply : undefined;
}

function remember(
  kept: LocalResponse,
  how: LocalAnswer["how"],
  name: string | false,
  age: number,
  reply: Reply,
): Reply {
  kept.answer = { reply, how, name, age: Math.floor(age), ttl: secondsLeft(kept.response, age) };
  return reply;
}

/** The entity tag of a body that is sent. Of a response in process it is remembered: to make it takes longer than the rest. */
export function entityTagOfSent(
  body: string | Uint8Array,
  kind: "weak" | "strong",
  kept: LocalResponse | undefined,
): string | undefined {
  if (body.length === 0) return undefined;
  if (kept === undefined || typeof body !== "string" || body.length > maxTextBytes)
    return entityTag(typeof body === "string" ? Buffer.from(body) : body, kind);
  const known = kept.tagged;
  if (known?.body === body && known.kind === kind) return known.etag;
  const etag = entityTag(Buffer.from(body), kind);
  kept.tagged = { body, kind, etag };
  return etag;
}
