import type { OutgoingHttpHeaders } from "node:http";
import type { Head, Interceptor, Outgoing, Returned } from "../http/interceptor.js";
import { fieldsToStore, fieldText, listMembers, removedFields } from "../http/response-fields.js";
import type { BodyForm, Header, Reply } from "../http/verdict.js";
import { readDirectives } from "./cache-control.js";
import type { Forward } from "./cache-status.js";
import { cacheStatus } from "./cache-status.js";
import type { FreshnessDefaults } from "./freshness.js";
import { freshnessOf, usefulSeconds } from "./freshness.js";
import type { CacheableRequest } from "./request.js";
import type { StoredResponse } from "./stored-response.js";
import {
  forbidsStoring,
  isEndless,
  isPublic,
  isStorable,
  isWithheldForCredentials,
  mayBeShared,
  storableStatuses,
} from "./storing.js";
import { entityTag, isNotModified, isPreconditionFailed } from "./validators.js";

/** Options for the answer to the preconditions of a request. */
export interface ConditionsOptions {
  readonly request: CacheableRequest;
  /** The kind of entity tag that a response without one gets. */
  readonly etag: "weak" | "strong" | false;
  /** The reply where a precondition fails for a response of this status. */
  readonly preconditionFailed: (status: number) => Reply;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export interface RecorderOptions extends ConditionsOptions {
  /** Milliseconds by the clock of the store. */
  readonly storeNow: () => number;
  /** The reason why the request went on to the handler. */
  readonly forwarded: Forward;
  /** The generations of the tags before the handler ran. */
  readonly generations: StoredResponse["generations"];
  /** False if the store did not answer: the response is not stored then. */
  readonly storeAnswered: boolean;
  readonly shared: boolean;
  readonly defaults: FreshnessDefaults;
  readonly maxBytes: number;
  readonly name: string | false;
  /** The stale response that is sent instead of a server error, if there is one. */
  readonly staleOnError: (status: number) => Reply | undefined;
  /** The head of a response that may be stored was sent before its whole body was known. */
  readonly headSent: () => void;
  /** The client gets no body, so the body of the response may never be complete. */
  readonly bodySkipped: () => void;
  /** The complete response, and the seconds for which it is kept; undefined if it is for its own request alone. */
  readonly onOutcome: (response: StoredResponse | undefined, seconds: number) => void;
}

type UnfinishedResponse = Omit<StoredResponse, "body">;

const statuses: ReadonlySet<number> = new Set(storableStatuses);

/** Answers the preconditions of a request that gets a stored response, after changes by middleware in front. */
export function answerConditions(options: ConditionsOptions): Interceptor {
  const nothing = (): void => undefined;
  return {
    hidden: [],
    maxBytes: 0,
    begin(outgoing) {
      // The answer to an error has no conditions.
      if (outgoing.afterError) return "pass";
      const etag = entityTagOf(outgoing, options.etag);
      if (failsPrecondition(outgoing, etag, options)) return options.preconditionFailed(outgoing.status);
      return isClientCurrent(outgoing, etag, options) ? "notModified" : "pass";
    },
    headSent: nothing,
    complete: nothing,
  };
}

/** The entity tag of a response; a response without one gets one made of its body. */
function entityTagOf({ status, fields, body, set }: Outgoing, kind: ConditionsOptions["etag"]): string | undefined {
  const stated = fieldText(fields.etag);
  if (stated !== undefined || kind === false) return stated;
  if (status !== 200 || body === undefined || body.byteLength === 0) return undefined;
  const tag = entityTag(body, kind);
  set("ETag", tag);
  return tag;
}

/** True if the client has the response. With no-cache it gets the response, as from the frameworks. */
function isClientCurrent(
  { status, fields }: Outgoing,
  etag: string | undefined,
  { request, now }: ConditionsOptions,
): boolean {
  if (status !== 200 || request.directives.has("no-cache")) return false;
  return isNotModified(request.preconditions, { etag, lastModified: fieldText(fields["last-modified"]) }, now());
}

/** True if a precondition fails for the response (RFC 9110 13.2.2). */
function failsPrecondition(
  { status, fields }: Outgoing,
  etag: string | undefined,
  { request, now }: ConditionsOptions,
): boolean {
  const validators = { etag, lastModified: fieldText(fields["last-modified"]) };
  return status < 300 && isPreconditionFailed(request.preconditions, validators, now());
}

/** Watches the response of a handler. */
export interface Recorder extends Interceptor {
  /** Stores and shares nothing from now on: another cache behind this one does. */
  withdraw(): void;
}

/** Watches the response of a handler, decides whether it may be stored, and answers the preconditions of its request. */
export function recordResponse(options: RecorderOptions): Recorder {
  const {
    request,
    forwarded,
    generations,
    storeAnswered,
    shared,
    defaults,
    maxBytes,
    name,
    now,
    staleOnError,
    onOutcome,
  } = options;
  const requestMs = now();
  let unfinished: UnfinishedResponse | undefined;
  let seconds = 0;
  let size: string | undefined;
  /** The credentials for which the response is not stored, for `Cache-Status`. */
  let withheldFor: string | undefined;
  /** True if the cache may add an entity tag to the response. */
  let mayAddEntityTag = false;
  /** True once it is decided whether the response is stored; middleware in front may change the response afterwards. */
  let isDecided = false;
  /** The response as it was when that was decided. */
  let decided: Outgoing | undefined;
  /** The whole body, until the head is made. */
  let wholeBody: Uint8Array | undefined;
  let isHeadMade = false;
  let isReturned = false;
  /** True if the response states that all clients may get it. */
  let isPublicResponse = false;
  let isRefused = false;
  let isWithdrawn = false;
  /** True if the response says in `Cache-Status` that it is stored. */
  let isSaidStored = false;

  function begin(outgoing: Outgoing): ReturnType<Interceptor["begin"]> {
    const { body, fields } = outgoing;
    const isSent = !isDecided;
    const answer = isSent ? decide(outgoing, body === undefined ? "parts" : "whole") : "pass";
    if (typeof answer === "object" || outgoing.afterError) return answer;
    const etag = entityTagOf(outgoing, mayAddEntityTag && options.etag);
    if (isSent && unfinished !== undefined && etag !== undefined && fields.etag === undefined)
      unfinished = { ...unfinished, fields: [...unfinished.fields, ["etag", etag]] };
    const isFailed = failsPrecondition(outgoing, etag, options);
    if (!isFailed && !isClientCurrent(outgoing, etag, options)) return answer;
    if (unfinished !== undefined && isSent && body !== undefined) complete(body);
    else if (unfinished !== undefined) options.bodySkipped();
    isRefused = isFailed;
    return isFailed ? options.preconditionFailed(outgoing.status) : "notModified";
  }

  /** Decides whether the response is stored. A reply is sent instead of the response. */
  function decide(outgoing: Outgoing, form: BodyForm | undefined): Reply | "follow" | "pass" {
    const { status, fields, body } = outgoing;
    isDecided = true;
    if (isWithdrawn) return "pass";
    const stale = status >= 500 ? staleOnError(status) : undefined;
    if (stale !== undefined) return stale;
    size = fieldText(fields["content-length"]);
    const storable = form === undefined || outgoing.afterError ? undefined : unfinishedResponse(outgoing, form);
    mayAddEntityTag = storable !== undefined;
    unfinished = request.mayStore ? storable : undefined;
    decided = outgoing;
    if (unfinished === undefined) onOutcome(undefined, 0);
    isSaidStored = unfinished !== undefined && body !== undefined && storeAnswered;
    if (name !== false) outgoing.set("Cache-Status", statusField(outgoing, name, isSaidStored));
    return unfinished === undefined ? "pass" : "follow";
  }

  function failed(status: number): Reply | undefined {
    isDecided = true;
    if (isWithdrawn) return undefined;
    const stale = status >= 500 ? staleOnError(status) : undefined;
    if (stale === undefined) onOutcome(undefined, 0);
    return stale;
  }

  /** The response as it would be stored, without its body; undefined if it is not stored. */
  function unfinishedResponse(
    { status, fields, before, body }: Outgoing,
    form: BodyForm,
  ): UnfinishedResponse | undefined {
    const field = (wanted: string): string | undefined => fieldText(fields[wanted]);
    if (body === undefined && (isEndless(field("content-type")) || Number(size) > maxBytes)) return undefined;
    const directives = readDirectives(field("cache-control"));
    const nowMs = now();
    const freshness = freshnessOf(field, directives, defaults, { requestMs, nowMs, shared });
    if (freshness === undefined) return undefined;
    seconds = usefulSeconds(freshness);
    const vary = listMembers(field("vary"));
    // Encoded bytes are for clients that accept the encoding, also if the handler did not set Vary.
    if (fields["content-encoding"] !== undefined && !vary.includes("accept-encoding")) vary.push("accept-encoding");
    const { explicit } = freshness;
    const isLate = request.hasNewIdentity();
    // Its key was made from the identity that was known before.
    if (isLate && !shared) return undefined;
    const candidate = {
      ...{ status, directives, vary, shared, explicit },
      hasCredentials: request.hasCredentials || isLate,
      hasCookies: request.hasCookies,
      setsCookie: fields["set-cookie"] !== undefined,
    };
    if (!(seconds > 0)) return undefined;
    if (!isStorable(candidate, statuses)) {
      if (isWithheldForCredentials(candidate, statuses))
        withheldFor = `credentials: ${request.credentialsField ?? (isLate ? "token" : "cookie")}`;
      return undefined;
    }
    isPublicResponse = isPublic(directives);
    const kept: Header[] = fieldsToStore(fields, before);
    return {
      status,
      fields: kept,
      form,
      sized: size !== undefined,
      removed: removedFields(fields, before),
      storedMs: nowMs,
      storeMs: options.storeNow(),
      ...freshness,
      open: mayBeShared(directives),
      vary: vary.sort(),
      generations,
    };
  }

  /** The field `Cache-Status`, with the members of caches behind this one. */
  function statusField({ fields }: Outgoing, self: string, stored: boolean): string {
    const others = fieldText(fields["cache-status"]);
    const own = cacheStatus(self, { forwarded, stored, detail: withheldFor });
    return others === undefined ? own : `${others}, ${own}`;
  }

  function complete(body: Uint8Array | undefined): void {
    const isWhole = body !== undefined && (size === undefined || Number(size) === body.byteLength);
    if (!isWhole || unfinished === undefined) return giveUp();
    wholeBody = body;
    if (isHeadMade) finish(unfinished, body);
  }

  function finish(known: UnfinishedResponse, body: Uint8Array): void {
    unfinished = undefined;
    onOutcome({ ...known, body }, seconds);
  }

  function giveUp(): void {
    unfinished = undefined;
    onOutcome(undefined, 0);
  }

  /** Late changes of the head by middleware may forbid storing, and may add to `Vary`. They cannot allow storing. */
  function headMade(head: Head | undefined): void {
    isHeadMade = true;
    if (unfinished === undefined || decided === undefined) return;
    // Without a head, the fields are unknown, and the handler may have answered a client that has gone.
    if (head === undefined) return giveUp();
    const { status, fields, reached } = head;
    // A response that the framework held was recorded before: later changes come from middleware.
    if (reached === "unknown") unfinished = undefined;
    else if (reached !== undefined) {
      const late = unfinishedResponse({ ...decided, status, fields: reached }, unfinished.form);
      if (!isReturned) unfinished = late;
      // It cannot be told which middleware has changed the head late: with another status, nothing is stored.
      else if (late?.status !== unfinished.status) unfinished = undefined;
    }
    if (unfinished === undefined || isForbidden(fields)) return giveUp();
    unfinished = { ...unfinished, vary: [...new Set([...unfinished.vary, ...lateVary(fields)])].sort() };
    // Middleware in front adds its Vary to each response again. Late additions by handlers are for other caches, too.
    if (typeof reached === "object" && isReturned)
      unfinished = { ...unfinished, fields: withVary(unfinished.fields, lateVary(reached)) };
    if (wholeBody !== undefined) finish(unfinished, wholeBody);
  }

  /** The field outlives the head that could not be made. */
  function sendingFailed(): void {
    giveUp();
    if (decided !== undefined && name !== false && isSaidStored)
      decided.set("Cache-Status", statusField(decided, name, false));
  }

  function isForbidden(fields: OutgoingHttpHeaders): boolean {
    const setsCookie = fields["set-cookie"] !== undefined;
    // The fields of a refusal that was sent instead do not describe the response.
    const directives = readDirectives(isRefused ? undefined : fieldText(fields["cache-control"]));
    const vary = isRefused ? [] : listMembers(fieldText(fields.vary));
    return forbidsStoring({ directives, vary, setsCookie, shared }, isPublicResponse);
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
  return {
    hidden,
    maxBytes: maxBytes,
    begin,
    returned,
    failed,
    headMade,
    sendingFailed,
    headSent: options.headSent,
    complete,
    withdraw,
  };
}

function withVary(fields: readonly Header[], names: readonly string[]): Header[] {
  const stated = fields.find(([name]) => name === "vary")?.[1];
  const known = listMembers(stated);
  const all = [...(stated === undefined ? [] : [stated]), ...names.filter((name) => !known.includes(name))].join(", ");
  const others = fields.filter(([name]) => name !== "vary");
  return all === "" ? others : [...others, ["vary", all]];
}

/** The `Vary` fields of the head that is sent, except accept-encoding, which compression in front of the cache adds. */
function lateVary(fields: OutgoingHttpHeaders): string[] {
  return listMembers(fieldText(fields.vary)).filter((name) => name !== "accept-encoding" && name !== "*");
}
