import type { OutgoingHttpHeaders } from "node:http";
import type { Head, Interceptor, Outgoing, Returned } from "../http/interception.js";
import type { BodyForm, Header, Reply } from "../http/verdict.js";
import { readDirectives } from "./cache-control.js";
import type { Forward } from "./cache-status.js";
import { cacheStatus } from "./cache-status.js";
import type { FreshnessDefaults } from "./freshness.js";
import { freshnessOf, usefulSeconds } from "./freshness.js";
import type { CacheableRequest } from "./request.js";
import type { StoredResponse } from "./stored-response.js";
import {
  fieldsToStore,
  fieldText,
  forbidsStoring,
  isEndless,
  isPublic,
  isStorable,
  isWithheldForCredentials,
  listMembers,
  mayBeShared,
  removedFields,
  storableStatuses,
} from "./storing.js";
import { entityTag, isNotModified, isPreconditionFailed } from "./validators.js";

export interface ConditionsOptions {
  readonly request: CacheableRequest;
  /** The entity tag of a response that has none. */
  readonly etag: "weak" | "strong" | false;
  /** What is said instead to whoever asks for another response than this one, of this status. */
  readonly preconditionFailed: (status: number) => Reply;
  /** Unix milliseconds. */
  readonly now: () => number;
}

export interface RecorderOptions extends ConditionsOptions {
  /** Milliseconds by the clock of the store. */
  readonly storeNow: () => number;
  /** Why the handler is asked. */
  readonly forwarded: Forward;
  /** What the response will have to remember; undefined if it cannot be stored, because the store does not answer. */
  readonly generations: StoredResponse["generations"];
  readonly storeAnswered: boolean;
  readonly shared: boolean;
  readonly defaults: FreshnessDefaults;
  readonly mostBytes: number;
  readonly name: string | false;
  /** What goes out instead of a server error, if anything does. */
  readonly staleOnError: (status: number) => Reply | undefined;
  /** The head of a response that may be stored was sent before its whole body was known. */
  readonly headSent: () => void;
  /** The client gets a 304, and the body of the response may never be made. */
  readonly bodySkipped: () => void;
  /** The response, with how long it is worth keeping; undefined if it is for its own request alone. */
  readonly onOutcome: (response: StoredResponse | undefined, seconds: number) => void;
}

type UnfinishedResponse = Omit<StoredResponse, "body">;

const statuses: ReadonlySet<number> = new Set(storableStatuses);

/** Answers the conditions of a request for which a stored response is sent, with what middleware in front made of it. */
export function answerConditions(options: ConditionsOptions): Interceptor {
  const nothing = (): void => undefined;
  return {
    hidden: [],
    mostBytes: 0,
    begin(outgoing) {
      const etag = entityTagOf(outgoing, options.etag);
      if (failsPrecondition(outgoing, etag, options)) return options.preconditionFailed(outgoing.status);
      return isClientCurrent(outgoing, etag, options) ? "notModified" : "pass";
    },
    headSent: nothing,
    complete: nothing,
  };
}

/** The entity tag of a response; made of its body and set, if it has none. */
function entityTagOf({ status, fields, body, set }: Outgoing, kind: ConditionsOptions["etag"]): string | undefined {
  const stated = fieldText(fields.etag);
  if (stated !== undefined || kind === false) return stated;
  if (status !== 200 || body === undefined || body.byteLength === 0) return undefined;
  const tag = entityTag(body, kind);
  set("ETag", tag);
  return tag;
}

/** Does the client have the response? Whoever says no-cache gets it from the frameworks in any case, and so from here. */
function isClientCurrent(
  { status, fields }: Outgoing,
  etag: string | undefined,
  { request, now }: ConditionsOptions,
): boolean {
  if (status !== 200 || request.directives.has("no-cache")) return false;
  return isNotModified(request.preconditions, { etag, lastModified: fieldText(fields["last-modified"]) }, now());
}

/** Is the response another than that which the request is about (RFC 9110 13.2.2)? */
function failsPrecondition(
  { status, fields }: Outgoing,
  etag: string | undefined,
  { request, now }: ConditionsOptions,
): boolean {
  const validators = { etag, lastModified: fieldText(fields["last-modified"]) };
  return status < 300 && isPreconditionFailed(request.preconditions, validators, now());
}

/** What watches the response of a handler. */
export interface Recorder extends Interceptor {
  /** Stores and shares nothing: another cache behind this one does what is to be done. */
  withdraw(): void;
}

/** Watches the response of a handler, decides whether it may be stored, and answers the conditions of its request. */
export function recordResponse(options: RecorderOptions): Recorder {
  const {
    request,
    forwarded,
    generations,
    storeAnswered,
    shared,
    defaults,
    mostBytes,
    name,
    now,
    staleOnError,
    onOutcome,
  } = options;
  const requestMs = now();
  let unfinished: UnfinishedResponse | undefined;
  let seconds = 0;
  let size: string | undefined;
  /** What the request had for which its response is not stored. */
  let withheldFor: string | undefined;
  /** May the response have an entity tag of this cache's? */
  let mayAddEntityTag = false;
  /** Has it been decided before the response was sent? Then middleware in front may have changed it since. */
  let isDecided = false;
  /** The response as it was decided about. */
  let decided: Outgoing | undefined;
  /** Its body, until its head is made. */
  let wholeBody: Uint8Array | undefined;
  let isHeadMade = false;
  let isReturned = false;
  /** Does the response say that it is the same for all? */
  let isPublicResponse = false;
  let isRefused = false;
  let isWithdrawn = false;

  function begin(outgoing: Outgoing): ReturnType<Interceptor["begin"]> {
    const { body, fields } = outgoing;
    const isSent = !isDecided;
    const answer = isSent ? decide(outgoing, body === undefined ? "parts" : "whole") : "pass";
    if (typeof answer === "object") return answer;
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

  /** Decides whether the response is stored. A reply takes its place. */
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
    if (name !== false) addCacheStatus(outgoing, name, unfinished !== undefined && body !== undefined && storeAnswered);
    return unfinished === undefined ? "pass" : "follow";
  }

  function failed(status: number): Reply | undefined {
    isDecided = true;
    if (isWithdrawn) return undefined;
    const stale = status >= 500 ? staleOnError(status) : undefined;
    if (stale === undefined) onOutcome(undefined, 0);
    return stale;
  }

  /** The response as it would be stored, without its body; undefined if it must not be, or need not. */
  function unfinishedResponse(
    { status, fields, before, body }: Outgoing,
    form: BodyForm,
  ): UnfinishedResponse | undefined {
    const field = (wanted: string): string | undefined => fieldText(fields[wanted]);
    if (body === undefined && (isEndless(field("content-type")) || Number(size) > mostBytes)) return undefined;
    const directives = readDirectives(field("cache-control"));
    const nowMs = now();
    const freshness = freshnessOf(field, directives, defaults, { requestMs, nowMs, shared });
    if (freshness === undefined) return undefined;
    seconds = usefulSeconds(freshness);
    const vary = listMembers(field("vary"));
    // Bytes in an encoding are for those who understand it, also if the handler forgot to say so.
    if (fields["content-encoding"] !== undefined && !vary.includes("accept-encoding")) vary.push("accept-encoding");
    const { explicit } = freshness;
    const isLate = request.hasNewIdentity();
    // It would be found by what was known of the user before.
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

  function addCacheStatus({ fields, set }: Outgoing, self: string, stored: boolean): void {
    const others = fieldText(fields["cache-status"]);
    const own = cacheStatus(self, { forwarded, stored, detail: withheldFor });
    set("Cache-Status", others === undefined ? own : `${others}, ${own}`);
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

  /** Middleware that changes the head late may forbid to store the response, and choose among several; it allows nothing. */
  function headMade(head: Head | undefined): void {
    isHeadMade = true;
    if (unfinished === undefined || decided === undefined) return;
    // Nobody knows what its head would have said, nor whether the handler has answered a client that has gone.
    if (head === undefined) return giveUp();
    const { status, fields, reached } = head;
    // What a framework holds has been recorded before: later changes are not the handler's.
    if (reached === "unknown") unfinished = undefined;
    else if (reached !== undefined && !isReturned)
      unfinished = unfinishedResponse({ ...decided, status, fields: reached }, unfinished.form);
    if (unfinished === undefined || isForbidden(fields)) return giveUp();
    unfinished = { ...unfinished, vary: [...new Set([...unfinished.vary, ...lateVary(fields)])].sort() };
    // Middleware in front says its part again; what handlers have said late is for caches elsewhere, too.
    if (typeof reached === "object" && isReturned)
      unfinished = { ...unfinished, fields: withVary(unfinished.fields, lateVary(reached)) };
    if (wholeBody !== undefined) finish(unfinished, wholeBody);
  }

  function isForbidden(fields: OutgoingHttpHeaders): boolean {
    const setsCookie = fields["set-cookie"] !== undefined;
    // A refusal that was sent instead says nothing else of the response.
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
  return { hidden, mostBytes, begin, returned, failed, headMade, headSent: options.headSent, complete, withdraw };
}

function withVary(fields: readonly Header[], names: readonly string[]): Header[] {
  const stated = fields.find(([name]) => name === "vary")?.[1];
  const known = listMembers(stated);
  const all = [...(stated === undefined ? [] : [stated]), ...names.filter((name) => !known.includes(name))].join(", ");
  const others = fields.filter(([name]) => name !== "vary");
  return all === "" ? others : [...others, ["vary", all]];
}

/** Fields that choose among responses, by what is sent. What compresses in front of the cache chooses for itself. */
function lateVary(fields: OutgoingHttpHeaders): string[] {
  return listMembers(fieldText(fields.vary)).filter((name) => name !== "accept-encoding" && name !== "*");
}
