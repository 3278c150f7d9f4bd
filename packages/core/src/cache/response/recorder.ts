import type { Interceptor, Outgoing } from "../../http/interception.js";
import type { Header, Reply } from "../../http/verdict.js";
import { readDirectives } from "./directives.js";
import type { StoredResponse } from "./entry.js";
import type { FreshnessDefaults } from "./freshness.js";
import { freshnessOf, usefulSeconds } from "./freshness.js";
import { cacheStatus } from "./cache-status.js";
import type { Forward } from "./cache-status.js";
import type { CacheableRequest } from "./request.js";
import { isLive, isOpen, isStorable, isWithheld, storableStatuses } from "./storable.js";
import { preconditionFailed } from "./replay.js";
import { fieldsToStore, listOf, textOf } from "./stored-fields.js";
import { entityTag, isNotModified, isPreconditionFailed } from "./validators.js";

export interface RecorderOptions {
  readonly request: CacheableRequest;
  /** Why the handler is asked. */
  readonly forwarded: Forward;
  /** What the response will have to remember; undefined if it cannot be stored, because the store does not answer. */
  readonly generations: StoredResponse["generations"];
  readonly storing: boolean;
  readonly shared: boolean;
  readonly defaults: FreshnessDefaults;
  readonly mostBytes: number;
  readonly etag: "weak" | "strong" | false;
  readonly name: string | false;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** What goes out instead of a server error, if anything does. */
  readonly standIn: (status: number) => Reply | undefined;
  /** The head of a response that may be stored was sent before its whole body was known. */
  readonly headSent: () => void;
  /** The response, with how long it is worth keeping; undefined if it is for its own request alone. */
  readonly settle: (response: StoredResponse | undefined, seconds: number) => void;
}

type Unfinished = Omit<StoredResponse, "body">;

const statuses: ReadonlySet<number> = new Set(storableStatuses);

/** Watches the response of a handler, decides whether it may be stored, and answers the conditions of its request. */
export function recordResponse(options: RecorderOptions): Interceptor {
  const { request, forwarded, generations, storing, shared, defaults, mostBytes, name, now, standIn, settle } = options;
  const { headSent } = options;
  const requestMs = now();
  let made: Unfinished | undefined;
  let seconds = 0;
  let size: string | undefined;
  /** What the request had for which its response is not stored. */
  let withheldFor: string | undefined;

  function begin(outgoing: Outgoing): ReturnType<Interceptor["begin"]> {
    const { status, fields, body } = outgoing;
    const instead = status >= 500 ? standIn(status) : undefined;
    if (instead !== undefined) return instead;
    size = textOf(fields["content-length"]);
    made = request.stores ? examine(outgoing) : undefined;
    const etag = textOf(fields.etag) ?? (made === undefined ? undefined : makeTag(outgoing));
    if (made === undefined) settle(undefined, 0);
    else if (etag !== undefined && fields.etag === undefined)
      made = { ...made, fields: [...made.fields, ["etag", etag]] };
    if (name !== false) tellStatus(outgoing, name, made !== undefined && body !== undefined && storing);
    const validators = { etag, lastModified: textOf(fields["last-modified"]) };
    if (status < 300 && isPreconditionFailed(request.preconditions, validators, now())) {
      if (made !== undefined) complete(body);
      return preconditionFailed(name, { forwarded, forwardStatus: status });
    }
    if (status === 200 && body !== undefined && isNotModified(request.preconditions, validators, now())) {
      if (made !== undefined) complete(body);
      return "notModified";
    }
    return made === undefined ? "pass" : "follow";
  }

  /** The response as it would be stored, without its body; undefined if it must not be, or need not. */
  function examine({ status, fields, before, body }: Outgoing): Unfinished | undefined {
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
    const candidate = {
      ...{ status, directives, vary, shared, explicit },
      credentials: request.credentials,
      cookies: request.cookies,
      setsCookie: fields["set-cookie"] !== undefined,
    };
    if (!(seconds > 0)) return undefined;
    if (!isStorable(candidate, statuses)) {
      if (isWithheld(candidate, statuses)) withheldFor = `credentials: ${request.credentialsIn ?? "cookie"}`;
      return undefined;
    }
    const kept: Header[] = fieldsToStore(fields, before);
    return {
      status,
      fields: kept,
      storedMs: nowMs,
      ...freshness,
      open: isOpen(directives),
      vary: vary.sort(),
      generations,
    };
  }

  function makeTag({ status, body, set }: Outgoing): string | undefined {
    if (options.etag === false || status !== 200 || body === undefined || body.byteLength === 0) return undefined;
    const tag = entityTag(body, options.etag);
    set("ETag", tag);
    return tag;
  }

  function tellStatus({ fields, set }: Outgoing, self: string, stored: boolean): void {
    const others = textOf(fields["cache-status"]);
    const own = cacheStatus(self, { forwarded, stored, detail: withheldFor });
    set("Cache-Status", others === undefined ? own : `${others}, ${own}`);
  }

  function complete(body: Uint8Array | undefined): void {
    const whole = body !== undefined && (size === undefined || Number(size) === body.byteLength);
    settle(whole && made !== undefined ? { ...made, body } : undefined, seconds);
    made = undefined;
  }

  return { hidden: request.hidden, mostBytes, begin, headSent, complete };
}
