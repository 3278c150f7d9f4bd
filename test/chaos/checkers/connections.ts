import { mayBeLost } from "../history.js";
import type { Fault, History, Operation, Stream } from "../history.js";
import { clockToleranceMs, cutMs, settleMs, slackMs } from "../settings.js";
import { concerns, endings, toleranceOf } from "./revocation.js";
import { mayEnd } from "./sessions.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

type Interval = readonly [from: number, until: number];

function touches({ processes, what }: Fault, process: number): boolean {
  // A promotion that nobody has ordered is everybody's.
  return processes.includes(process) || (what === "redis" && processes.length === 0);
}

/** Times in which a process did not run, or this test did not. */
function stillOf({ faults }: History, process: number): Interval[] {
  return faults
    .filter((fault) => (fault.what === "stop" || fault.what === "busy") && touches(fault, process))
    .map(({ start, end }): Interval => [start, end]);
}

/**
 * Times in which a process did not reach Redis: those of faults, and what comes after them until the process says that it knows
 * again whether its tokens are good. It must know some seconds after the fault.
 */
function cutOffOf(history: History, process: number): Interval[] {
  const causes = history.faults.filter(
    (fault) => ["redis", "stop", "busy", "end"].includes(fault.what) && touches(fault, process),
  );
  const unsure = unsureOf(history, process);
  return causes
    .filter(({ what }) => what === "redis")
    .map(({ start, end }): Interval => [start, end])
    .concat(
      causes.flatMap(({ start, end }) =>
        unsure
          .filter(([from, until]) => from <= end + settleMs && until >= start)
          .map(([from, until]): Interval => [from, Math.min(until, end + settleMs)]),
      ),
    );
}

/** Times in which a process has said that it does not know whether its tokens are good. */
function unsureOf({ reaches, ends }: History, process: number): Interval[] {
  const lives = groupBy(
    reaches.filter((one) => one.process === process),
    ({ life }) => String(life),
  );
  return [...lives.values()].flatMap((told) =>
    told.flatMap((one, index): Interval[] => {
      if (one.reached) return [];
      const next = told[index + 1]?.at;
      const end = ends.find(({ life, process: ended }) => life === one.life && ended === process)?.at;
      return [[one.at, next ?? end ?? Number.POSITIVE_INFINITY]];
    }),
  );
}

/** The milliseconds of this time that lie in none of the intervals. */
export function timeOutside(intervals: readonly Interval[], from: number, until: number): number {
  let [at, outside] = [from, 0];
  for (const [start, end] of [...intervals].sort(([one], [other]) => one - other)) {
    if (start >= until) break;
    outside += Math.max(0, start - at);
    at = Math.max(at, end);
  }
  return outside + Math.max(0, until - at);
}

type OpenStream = Stream & { readonly opened: number };

function isOpen(stream: Stream): stream is OpenStream {
  return stream.status === 200 && stream.opened !== undefined;
}

function brief(stream: Stream): Stream {
  return { ...stream, told: stream.told.slice(-1) };
}

interface Cut {
  readonly ending: Operation;
  readonly stream: Stream;
  /** Milliseconds in which the process could have ended the stream, and did not. */
  readonly ms: number;
}

/** How long streams stayed open whose sessions were ended, in time in which their processes ran and reached Redis. */
export function cutsOf(history: History): Cut[] {
  const endingsOfHistory = history.operations.filter(
    ({ name, status }) => status === 204 && (endings.includes(name) || name === "revoked-key"),
  );
  const lasting = endingsOfHistory.filter((one) => one.args.replicated === true || !mayBeLost(history, one.end));
  const bySubject = groupBy(lasting, ({ args }) => text(args, "subject"));
  const known = new Map<number, readonly Interval[]>();
  return history.streams.filter(isOpen).flatMap((stream) => {
    const { process, end, args, opened } = stream;
    let excused = known.get(process);
    if (excused === undefined) {
      excused = [...stillOf(history, process), ...cutOffOf(history, process)];
      known.set(process, excused);
    }
    const intervals = excused;
    return (bySubject.get(text(args, "subject")) ?? [])
      .filter((ending) => ending.end < end && concerns(ending, args))
      .map((ending) => ({ ending, stream, ms: timeOutside(intervals, Math.max(ending.end, opened), end) }));
  });
}

/**
 * A stream ends within a second of the end of its session, whoever has ended it and wherever. The second is counted while the
 * process of the stream runs and reaches Redis.
 */
export function checkStreamsAreCut(history: History): Violation[] {
  return cutsOf(history)
    .filter(({ ms }) => ms > cutMs + slackMs)
    .map(({ ending, stream, ms }) => ({
      property: "no stream of an ended session stays open",
      message: `a stream at process ${stream.process} was open for ${Math.round(ms)} ms after ${ending.name} was confirmed`,
      at: ending.end,
      evidence: [ending, brief(stream)],
    }));
}

/** After an ending was confirmed, no stream begins. */
export function checkNoStreamBegins(history: History): Violation[] {
  return cutsOf(history)
    .filter(({ ending, stream }) => stream.start > ending.end + toleranceOf(stream.process))
    .map(({ ending, stream }) => ({
      property: "no stream begins with an ended session",
      message: `process ${stream.process} began a stream ${Math.round(stream.start - ending.end)} ms after ${ending.name} was confirmed`,
      at: stream.start,
      evidence: [ending, brief(stream)],
    }));
}

function clockWasWrong({ faults }: History, process: number, from: number, until: number): boolean {
  return faults.some(
    (fault) =>
      fault.what === "clock" &&
      fault.processes.includes(process) &&
      fault.start <= until &&
      fault.end + settleMs >= from,
  );
}

/** By how much a process may be wrong about the time. */
function wrongMs(history: History, { process, start, end }: Stream): number {
  return clockWasWrong(history, process, start, end) ? clockToleranceMs : 0;
}

/** No stream is open when its token has expired, and none begins then. */
export function checkStreamsEndWithToken(history: History): Violation[] {
  return history.streams.filter(isOpen).flatMap((stream) => {
    const { expires, end, process, opened } = stream;
    const from = Math.max(expires, opened);
    const ms = timeOutside(stillOf(history, process), from, end);
    if (end <= expires || ms <= slackMs + wrongMs(history, stream)) return [];
    const message = `a stream at process ${process} was open for ${Math.round(ms)} ms after its token had expired`;
    return [{ property: "no stream outlives its token", message, at: expires, evidence: [brief(stream)] }];
  });
}

const property = "no stream is cut for nothing";

/** A stream ends for the reason that its server says, and is refused for a reason. */
export function checkNoStreamIsCutForNothing(history: History): Violation[] {
  return history.streams.flatMap((stream) => {
    const wrong = wrongEndOf(history, stream);
    if (wrong === undefined) return [];
    const message = `${stream.client}: ${wrong} at process ${stream.process}`;
    return [{ property, message, at: stream.end, evidence: [brief(stream)] }];
  });
}

function wrongEndOf(history: History, stream: Stream): string | undefined {
  const { how, status, reason, process, life, foreign } = stream;
  const hasEnded = history.ends.some((one) => one.process === process && one.life === life && one.at <= stream.end);
  switch (status) {
    case 0:
      return how === "left" || hasEnded ? undefined : "a request for a stream got no answer";
    case 200:
      if (how === "left") return undefined;
      if (how === "broken" && reason === undefined)
        return hasEnded ? undefined : "a stream broke, and its process lives";
      return mayEndFor(history, stream, reason, hasEnded) ? undefined : `a stream ended (${reason})`;
    case 401:
    case 204:
      return mayBeExpired(history, stream) || wasEnded(history, stream)
        ? undefined
        : `a stream was refused (${status})`;
    case 403:
      return foreign ? undefined : "a stream of the user's own topics was refused (403)";
    default:
      return status === 503 ? undefined : `a request for a stream was answered ${status}`;
  }
}

function mayEndFor(history: History, stream: Stream, reason: string | undefined, hasEnded: boolean): boolean {
  switch (reason) {
    case "closed":
      return hasEnded;
    case "expired":
      return mayBeExpired(history, stream);
    case "revoked":
    case "session_ended":
      return wasEnded(history, stream);
    case "slow":
      return timeOutside(stillOf(history, stream.process), stream.start, stream.end) < stream.end - stream.start;
    default:
      return false;
  }
}

/** A time of whole seconds is known by the answer to the sign-in, which may be late. */
function mayBeExpired(history: History, stream: Stream): boolean {
  return stream.end >= stream.expires - slackMs - wrongMs(history, stream);
}

/** An ending that was asked for may have happened, whatever was answered. */
function wasEnded({ operations }: History, stream: Stream): boolean {
  return operations.some(
    (one) =>
      (endings.includes(one.name) || one.name === "revoked-key") && one.start <= stream.end && mayEnd(one, stream.args),
  );
}
