import type { DenialDetail } from "../http/denial-detail.js";
import { quoted } from "../http/denial-detail.js";
import type { Exchange } from "../http/exchange.js";
import type { Denied } from "../http/verdict.js";
import { deny } from "../http/verdict.js";

/** The bounds on the topics of one stream. */
export const maxTopics = 32;
export const maxTopicLength = 200;

/** Ids of messages have at most 64 characters of visible ASCII. */
const eventIdForm = /^[\x21-\x7e]{1,64}$/;

/** Refuses a request that a stream of events cannot answer, whoever sends it. */
export function refuseRequest(exchange: Exchange): Denied | undefined {
  if (exchange.method !== "GET" && exchange.method !== "HEAD") {
    const headers = [["Allow", "GET, HEAD"]] as const;
    return deny("method_not_allowed", { cause: "the method of the request is neither GET nor HEAD", headers });
  }
  if (!acceptsEvents(exchange.header("accept")))
    return deny("not_acceptable", {
      cause: "the client does not accept text/event-stream",
      detail: () => ({ header: "Accept", found: quoted(exchange.header("accept") ?? "") }),
    });
  return undefined;
}

/** The topics that the client names. */
export function topicsOf(exchange: Exchange): readonly string[] | Denied {
  const topics = queryOf(exchange.url).getAll("topic");
  if (topics.length === 0) return refuseTopics("the request names no topic");
  if (topics.length > maxTopics) return refuseTopics("the request names too many topics", topics.length);
  if (!topics.every(isTopic)) return refuseTopics("a topic of the request is not a text of 1 to 200 characters");
  return [...new Set(topics)];
}

function refuseTopics(cause: string, count?: number): Denied {
  const expected = `1 to ${maxTopics} topics`;
  const detail = (): DenialDetail => ({ expected, found: count === undefined ? undefined : `${count} topics` });
  return deny("topic_invalid", { cause, detail });
}

/** Is it a name of 1 to 200 characters, without control characters and replacements of bytes that are not UTF-8? */
export function isTopic(topic: unknown): topic is string {
  return (
    typeof topic === "string" &&
    topic.length > 0 &&
    topic.length <= maxTopicLength &&
    !/[\p{Cc}\p{Cs}\u2028\u2029\ufffd]/u.test(topic)
  );
}

/**
 * The id after which the stream goes on: the field that EventSource sends when it connects again, otherwise the query of the
 * first connection. An id that we have not made may be well formed: then the stream begins with a gap.
 */
export function lastEventId(exchange: Exchange): string | undefined | Denied {
  const field = exchange.header("last-event-id");
  const id = field ?? queryOf(exchange.url).get("lastEventId") ?? undefined;
  if (id === undefined || id === "") return undefined;
  if (!eventIdForm.test(id)) return deny("event_id_invalid", { cause: "the Last-Event-ID is not an id of a message" });
  return id;
}

function queryOf(url: string): URLSearchParams {
  const start = url.indexOf("?");
  return new URLSearchParams(start === -1 ? "" : url.slice(start + 1));
}

/** Media ranges that contain text/event-stream; the most specific one of a field decides (RFC 9110, 12.5.1). */
const ranges: readonly string[] = ["*/*", "text/*", "text/event-stream"];

function acceptsEvents(field: string | undefined): boolean {
  if (field === undefined || field.trim() === "") return true;
  let [decisive, quality] = [-1, 0];
  for (const range of field.split(",")) {
    const [type = "", ...parameters] = range.split(";");
    const specificity = ranges.indexOf(type.trim().toLowerCase());
    if (specificity === -1 || specificity < decisive) continue;
    [decisive, quality] = [specificity, qualityOf(parameters)];
  }
  return quality > 0;
}

function qualityOf(parameters: readonly string[]): number {
  for (const parameter of parameters) {
    const match = /^\s*q\s*=\s*([0-9.]{1,5})\s*$/i.exec(parameter);
    if (match !== null) return Number(match[1]);
  }
  return 1;
}
