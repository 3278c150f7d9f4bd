import type { Logger } from "../../telemetry/logger.js";
import type { FaultKind } from "../ports/fault.js";
import { faultOfError } from "./replies.js";
import { clearInterval, monotonicNow, setInterval } from "../../lib/real-timers.js";

/** Why a connection failed, or a call on it. It never contains a password, a key or an argument. */
export interface Cause {
  readonly fault: FaultKind;
  /** The code of Node, such as `ECONNREFUSED`, the first word of Redis' reply, such as `WRONGPASS`, or a fixed phrase. */
  readonly reason: string;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** The names in the certificate of the server, if the certificate is for another name. */
  readonly names?: string | undefined;
}

interface NodeError extends Error {
  readonly code?: unknown;
  readonly address?: unknown;
  readonly hostname?: unknown;
  readonly port?: unknown;
  readonly cert?: { readonly subjectaltname?: unknown };
  /** The error of a node, in the error of a Cluster client that has reached no node. */
  readonly lastNodeError?: unknown;
}

const closed = "the connection was closed";
const noSentinel = "no sentinel answers";

export const endedClient: Cause = {
  fault: "unreachable",
  reason: "quit() or disconnect() of the application has ended its client, which does not connect again",
};

/** Errors of ioredis that have no code, and words that its errors quote. */
const phrases: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/\b(E[A-Z]{4,}|ERR_[A-Z_]+|WRONGPASS|NOAUTH|NOPERM|[A-Z]+_CERT[A-Z_]*)\b/, ""],
  [/invalid reply: null/, "the sentinels do not know the name of the master"],
  [/unreachable/, noSentinel],
  [/has not answered|[Tt]imeout|timed out/, "no answer"],
  [/Protocol error/, "the reply is not of Redis; TLS may be missing or unexpected"],
  [/redis\.password/, "the function redis.password failed"],
];

/** The cause of an error of a connection. */
export function causeOf(error: unknown, at: Partial<Pick<Cause, "host" | "port">> = {}): Cause {
  const own = ((error as NodeError | undefined)?.lastNodeError ?? error) as NodeError;
  const { kind, reply } = faultOfError(own);
  const {
    host = textOf(own.hostname ?? own.address),
    port = Number.isInteger(own.port) ? Number(own.port) : undefined,
  } = at;
  const names = textOf(own.cert?.subjectaltname)?.slice(0, 200);
  return { fault: kind === "unreadable" ? "refused" : kind, reason: reply ?? reasonOf(own), host, port, names };
}

function reasonOf({ code, message }: NodeError): string {
  if (typeof code === "string" && /^[A-Z][A-Z0-9_]{2,60}$/.test(code)) return code;
  for (const [pattern, reason] of phrases) {
    const match = pattern.exec(message);
    if (match !== null) return reason === "" ? (match[1] ?? "") : reason;
  }
  return closed;
}

/** Does the cause say no more than that there is no connection? */
export function isVague({ reason }: Cause): boolean {
  return reason === closed || reason === noSentinel;
}

/** Printable text of one line; undefined for anything else. */
function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value.replace(/[^\x20-\x7e]/g, "?") : undefined;
}

/** The address of a node in the form of ioredis, `host:port`. */
export function addressIn(key: unknown): { host: string; port: number } | undefined {
  const match = typeof key === "string" ? /^(.+):(\d+)$/.exec(key) : null;
  return match === null ? undefined : { host: match[1] ?? "", port: Number(match[2]) };
}

export interface OutageReportOptions {
  readonly logger: Logger;
  /** Can commands be sent? */
  readonly isUp: () => boolean;
  /** Is a circuit breaker open? Then Redis is not back. */
  readonly isBroken: () => boolean;
}

const checkMs = 500;
/** Redis is back when nothing has failed for so long. */
const quietMs = 1500;
/** The same for refused calls, which may be rare. */
const quietCallsMs = 3000;
/** The maximum number of lines of one outage. */
const maxCauses = 100;
/** Slow calls in a row, without a pause, that are an outage. */
const slowCalls = 5;

/** Logs each cause of an outage once, and once that Redis is back. */
export class OutageReport {
  readonly #options: OutageReportOptions;
  readonly #said = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #failedAt = 0;
  #quietMs = quietMs;
  #slow = 0;
  #connection: Cause | undefined;
  #call: Cause | undefined;

  constructor(options: OutageReportOptions) {
    this.#options = options;
  }

  /** The cause for which there is no connection. */
  get connection(): Cause | undefined {
    return this.#connection;
  }

  /** The cause for which calls have failed last in this outage, on a connection that works. */
  get call(): Cause | undefined {
    return this.#call;
  }

  connectionFailed(cause: Cause): void {
    this.#connection = cause;
    const { reason, host, port, names } = cause;
    const where = host === undefined ? "" : ` at ${host}${port === undefined ? "" : `:${port}`}`;
    const certificate = names === undefined ? "" : ` (the certificate names ${names})`;
    this.#say(cause, `portcullis: the connection to Redis failed: ${reason}${where}${certificate}`, quietMs);
  }

  connected(): void {
    this.#connection = undefined;
  }

  /** A call has failed on a connection that works, or without an answer. */
  callFailed(error: unknown): void {
    const { kind, reply } = faultOfError(error);
    const now = monotonicNow();
    if (kind === "refused") {
      const reason = reply ?? "ERR";
      this.#call = { fault: kind, reason };
      this.#say(this.#call, `portcullis: Redis refuses calls: ${reason}`, quietCallsMs);
    } else if (kind === "timeout") {
      this.#slow = now - this.#failedAt > quietMs ? 1 : this.#slow + 1;
      this.#failedAt = now;
      const reason = "no answer within the deadline";
      if (this.#slow < slowCalls) return;
      this.#call = { fault: kind, reason };
      this.#say(this.#call, `portcullis: Redis gives ${reason}`, quietMs);
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #say(cause: Cause, message: string, quiet: number): void {
    this.#failedAt = monotonicNow();
    this.#quietMs = quiet;
    // Addresses of a Cluster may change without end.
    if (this.#said.has(message) || this.#said.size >= maxCauses) return;
    this.#said.add(message);
    this.#timer ??= setInterval(() => this.#check(), checkMs).unref();
    this.#options.logger.warn(withoutUndefined(cause), message);
  }

  #check(): void {
    const { isUp, isBroken, logger } = this.#options;
    if (!isUp() || isBroken() || monotonicNow() - this.#failedAt < this.#quietMs) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#said.clear();
    this.#call = undefined;
    this.#slow = 0;
    logger.warn({}, "portcullis: Redis answers again");
  }
}

function withoutUndefined(cause: Cause): object {
  return Object.fromEntries(Object.entries(cause).filter(([, value]) => value !== undefined));
}
