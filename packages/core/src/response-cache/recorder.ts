import type { OutgoingHttpHeaders } from "node:http";
import type { Head, Interceptor, Outgoing, Returned } from "../http/interceptor.js";
import type { BodyForm, Header, Reply } from "../http/verdict.js";
import { readDirectives } from "./directives.js";
import type { StoredResponse } from "./entry.js";
import type { FreshnessDefaults } from "./freshness.js";
import { freshnessOf, usefulSeconds } from "./freshness.js";
import { cacheStatus } from "./cache-status.js";
import type { Forward } from "./cache-status.js";
import type { CacheableRequest } from "./request.js";
import { forbidsStoring, isForEveryone, isLive, isOpen, isStorable, isWithheld, storableStatuses } from "./storable.js";
import { fieldsRemoved, fieldsToStore, listOf, textOf } from "./stored-fields.js";
import { entityTag, isNotModified, isPreconditionFailed } from "./validators.js";

export interface JudgeOptions {
  readonly request: CacheableRequest;
  /** The entity tag of a response that has none. */
  readonly etag: "weak" | "strong" | false;
  /** What is said instead to whoever asks for another response than this one, of this status. */
  readonly unmet: (status: number) => Reply;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export interface RecorderOptions extends JudgeOptions {
  /** Milliseconds by the clock of the store. */
  readonly storeNow: () => number;
  /** Why the handler is asked. */
  readonly forwarded: Forward;
  /** What the response will have to remember; undefined if it cannot be stored, because the store does not answer. */
  readonly generations: StoredResponse["generations"];
  readonly storing: boolean;
  readonly shared: boolean;
  readonly defaults: FreshnessDefaults;
  readonly mostBytes: number;
  readonly name: string | false;
  /** What goes out instead of a server error, if anything does. */
  readonly standIn: (status: number) => Reply | undefined;
  /** The head of a response that may be stored was sent before its whole body was known. */
  readonly headSent: () => void;
  /** The client gets a 304, and the body of the response may never be made. */
  readonly bodySpared: () => void;
  /** The response, with how long it is worth keeping; undefined if it is for its own request alone. */
  readonly settle: (response: StoredResponse | undefined, seconds: number) => void;
}

type Unfinished = Omit<StoredResponse, "body">;

const statuses: ReadonlySet<number> = new Set(storableStatuses);

/** Answers the conditions of a request for which a stored response is sent, with what middleware in front made of it. */
export function judgeResponse(options: JudgeOptions): Interceptor {
  const nothing = (): void => undefined;
  return {
    hidden: [],
    mostBytes: 0,
    begin(outgoing) {
      // The answer to an error has no conditions.
      if (outgoing.afterError) return "pass";
      const etag = tagOf(outgoing, options.etag);
      if (isUnmet(outgoing, etag, options)) return options.unmet(outgoing.status);
      return isSpared(outgoing, etag, options) ? "notModified" : "pass";
    },
    headSent: nothing,
    complete: nothing,
  };
}

/** The entity tag of a response; made of its body and set, if it has none. */
function tagOf({ status, fields, body, set }: Outgoing, kind: JudgeOptions["etag"]): string | undefined {
  const stated = textOf(fields.etag);
  if (stated !== undefined || kind === false) return stated;
  if (status !== 200 || body === undefined || body.byteLength === 0) return undefined;
  const tag = entityTag(body, kind);
  set("ETag", tag);
  return tag;
}

/** Does the client have the response? Whoever says no-cache gets it from the frameworks in any case, and so from here. */
function isSpared({ status, fields }: Outgoing, etag: string | undefined, { request, now }: JudgeOptions): boolean {
  if (status !== 200 || request.directives.has("no-cache")) return false;
  return isNotModified(request.preconditions, { etag, lastModified: textOf(fields["last-modified"]) }, now());
}

/** Is the response another than that which the request is about (RFC 9110 13.2.2)? */
function isUnmet({ status, fields }: Outgoing, etag: string | undefined, { request, now }: JudgeOptions): boolean {
  const validators = { etag, lastModified: textOf(fields["last-modified"]) };
  return status < 300 && isPreconditionFailed(request.preconditions, validators, now());
}

/** What watches the response of a handler. */
export interface Recorder extends Interceptor {
  /** Stores and shares nothing: another cache behind this one does what is to be done. */
  withdraw(): void;
}

/** Watches the response of a handler, decides whether it may be stored, and answers the conditions of its request. */
export function recordResponse(options: RecorderOptions): Recorder {
  const { request, forwarded, generations, storing, shared, defaults, mostBytes, name, now, standIn, settle } = options;
  const requestMs = now();
  let made: Unfinished | undefined;
  let seconds = 0;
  let size: string | undefined;
  /** What the request had for which its response is not stored. */
  let withheldFor: string | undefined;
  /** May the response have an entity tag of this cache's? */
  let mayTag = false;
  /** Has it been decided before the response was sent? Then middleware in front may have changed it since. */
  let isDecided = false;
  /** The response as it was decided about. */
  let decided: Outgoing | undefined;
  /** Its body, until its head is made. */
  let whole: Uint8Array | undefined;
  let isHeadMade = false;
  let isReturned = false;
  /** Does the response say that it is the same for all? */
  let isForAll = false;
  let isRefused = false;
  let isWithdrawn = false;
  /** Has the response been said to be stored? */
  let isTold = false;

  function begin(outgoing: Outgoing): ReturnType<Interceptor["begin"]> {
    const { body, fields } = outgoing;
    const isSent = !isDecided;
    const answer = isSent ? decide(outgoing, body === undefined ? "parts" : "whole") : "pass";
    if (typeof answer === "object" || outgoing.afterError) return answer;
    const etag = tagOf(outgoing, mayTag && options.etag);
    if (isSent && made !== undefined && etag !== undefined && fields.etag === undefined)
      made = { ...made, fields: [...made.fields, ["etag", etag]] };
    const isFailed = isUnmet(outgoing, etag, options);
    if (!isFailed && !isSpared(outgoing, etag, options)) return answer;
    if (made !== undefined && isSent && body !== undefined) complete(body);
    else if (made !== undefined) options.bodySpared();
    isRefused = isFailed;
    return isFailed ? options.unmet(outgoing.status) : "notModified";
  }

  /** Decides whether the response is stored. A reply takes its place. */
  function decide(outgoing: Outgoing, form: BodyForm | undefined): Reply | "follow" | "pass" {
    const { status, fields, body } = outgoing;
    isDecided = true;
    if (isWithdrawn) return "pass";
    const instead = status >= 500 ? standIn(status) : undefined;
    if (instead !== undefined) return instead;
    size = textOf(fields["content-length"]);
    const storable = form === undefined || outgoing.afterError ? undefined : examine(outgoing, form);
    mayTag = storable !== undefined;
    made = request.stores ? storable : undefined;
    decided = outgoing;
    if (made === undefined) settle(undefined, 0);
    isTold = made !== undefined && body !== undefined && storing;
    if (name !== false) outgoing.set("Cache-Status", statusField(outgoing, name, isTold));
    return made === undefined ? "pass" : "follow";
  }

  function failed(status: number): Reply | undefined {
    isDecided = true;
    if (isWithdrawn) return undefined;
    const instead = status >= 500 ? standIn(status) : undefined;
    if (instead === undefined) settle(undefined, 0);
    return instead;
  }

  /** The response as it would be stored, without its body; undefined if it must not be, or need not. */
  function examine({ status, fields, before, body }: Outgoing, form: BodyForm): Unfinished | undefined {
    const field = (wanted: string): string | undefined => textOf(fields[wanted]);
    if (body === undefined && (isLive(field("content-type")) || Number(size) > mostBytes)) return undefined;
    const directives = readDirectives(field("cache-control"));
    const nowMs = now();
    const freshness = freshnessOf(field, directives, defaults, { requestMs, nowMs, shared });
    if (freshness === undefined) return undefined;
    seconds = usefulSeconds(freshness);
    const vary = listOf(field("vary"));
    // Bytes in an encoding are for those who understand it, also if the handler forgot to say so.
    if (fields["content-encoding"] !== undefined && !vary.includes("accept-encoding")) vary.push("accept-encoding");
    const { explicit } = freshness;
    const isLate = request.isSomebodyElse();
    // It would be found by what was known of the user before.
    if (isLate && !shared) return undefined;
    const candidate = {
      ...{ status, directives, vary, shared, explicit },
      credentials: request.credentials || isLate,
      cookies: request.cookies,
      setsCookie: fields["set-cookie"] !== undefined,
    };
    if (!(seconds > 0)) return undefined;
    if (!isStorable(candidate, statuses)) {
      if (isWithheld(candidate, statuses))
        withheldFor = `credentials: ${request.credentialsIn ?? (isLate ? "token" : "cookie")}`;
      return undefined;
    }
    isForAll = isForEveryone(directives);
    const kept: Header[] = fieldsToStore(fields, before);
    return {
      status,
      fields: kept,
      form,
      sized: size !== undefined,
      removed: fieldsRemoved(fields, before),
      storedMs: nowMs,
      storeMs: options.storeNow(),
      ...freshness,
      open: isOpen(directives),
      vary: vary.sort(),
      generations,
    };
  }

  /** The field with what caches behind this one have said. */
  function statusField({ fields }: Outgoing, self: string, stored: boolean): string {
    const others = textOf(fields["cache-status"]);
    const own = cacheStatus(self, { forwarded, stored, detail: withheldFor });
    return others === undefined ? own : `${others}, ${own}`;
  }

  function complete(body: Uint8Array | undefined): void {
    const isWhole = body !== undefined && (size === undefined || Number(size) === body.byteLength);
    if (!isWhole || made === undefined) return giveUp();
    whole = body;
    if (isHeadMade) finish(made, body);
  }

  function finish(known: Unfinished, body: Uint8Array): void {
    made = undefined;
    settle({ ...known, body }, seconds);
  }

  function giveUp(): void {
    made = undefined;
    settle(undefined, 0);
  }

  /** Middleware that changes the head late may forbid to store the response, and choose among several; it allows nothing. */
  function headMade(head: Head | undefined): void {
    isHeadMade = true;
    if (made === undefined || decided === undefined) return;
    // Nobody knows what its head would have said, nor whether the handler has answered a client that has gone.
    if (head === undefined) return giveUp();
    const { status, fields, reached } = head;
    // What a framework holds has been recorded before: later changes are not the handler's.
    if (reached === "unknown") made = undefined;
    else if (reached !== undefined && !isReturned) made = examine({ ...decided, status, fields: reached }, made.form);
    if (made === undefined || isForbidden(fields)) return giveUp();
    made = { ...made, vary: [...new Set([...made.vary, ...lateVary(fields)])].sort() };
    // Middleware in front says its part again; what handlers have said late is for caches elsewhere, too.
    if (typeof reached === "object" && isReturned) made = { ...made, fields: withVary(made.fields, lateVary(reached)) };
    if (whole !== undefined) finish(made, whole);
  }

  /** The field outlives the head that could not be made. */
  function sendingFailed(): void {
    giveUp();
    if (decided !== undefined && name !== false && isTold)
      decided.set("Cache-Status", statusField(decided, name, false));
  }

  function isForbidden(fields: OutgoingHttpHeaders): boolean {
    const setsCookie = fields["set-cookie"] !== undefined;
    // A refusal that was sent instead says nothing else of the response.
    const said = readDirectives(isRefused ? undefined : textOf(fields["cache-control"]));
    const vary = isRefused ? [] : listOf(textOf(fields.vary));
    return forbidsStoring({ directives: said, vary, setsCookie, shared }, isForAll);
  }

  function returned(response: Returned): ReturnType<typeof decide> {
    isReturned = true;
    return decide(response, response.form);
  }

  function withdraw(): void {
    isWithdrawn = true;
    giveUp();
  }

  const { hidden } = request;
  const { headSent } = options;
  return { hidden, mostBytes, begin, returned, failed, headMade, sendingFailed, headSent, complete, withdraw };
}

function withVary(fields: readonly Header[], names: readonly string[]): Header[] {
  const stated = fields.find(([name]) => name === "vary")?.[1];
  const known = listOf(stated);
  const all = [...(stated === undefined ? [] : [stated]), ...names.filter((name) => !known.includes(name))].join(", ");
  const others = fields.filter(([name]) => name !== "vary");
  return all === "" ? others : [...others, ["vary", all]];
}

/** Fields that choose among responses, by what is sent. What compresses in front of the cache chooses for itself. */
function lateVary(fields: OutgoingHttpHeaders): string[] {
  return listOf(textOf(fields.vary)).filter((name) => name !== "accept-encoding" && name !== "*");
}
