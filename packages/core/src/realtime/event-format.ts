/** The format of a stream of events (WHATWG HTML, 9.2.5 and 9.2.6). */

export interface FormattedEvent {
  /** The client sends it as `Last-Event-ID` when it connects again. Undefined: the client keeps the id before. */
  readonly id?: string | undefined;
  /** @default "message" */
  readonly event?: string | undefined;
  readonly data: unknown;
}

/** A comment. Clients ignore it, and proxies see that the connection is in use. */
export const heartbeat = ":\n\n";

/**
 * Events that the stream itself sends, and `open` and `error`, which EventSource fires by itself. Messages of the application
 * cannot have these names.
 */
export const reservedEvents: ReadonlySet<string> = new Set(["end", "gap", "degraded", "recovered", "open", "error"]);

/**
 * The text of an event, with its data as JSON in one line. Undefined if its id or its name cannot be sent, or its data is not
 * JSON: a line break in a name would let its sender write fields and events of its own.
 */
export function formatEvent({ id, event, data }: FormattedEvent): string | undefined {
  if ((id !== undefined && breaks(id)) || (event !== undefined && breaks(event))) return undefined;
  const json = jsonOf(data);
  if (json === undefined) return undefined;
  // A blank behind the colon belongs to the format. JSON has no line break.
  return `${id === undefined ? "" : `id: ${id}\n`}${event === undefined ? "" : `event: ${event}\n`}data: ${json}\n\n`;
}

/** Sets the id that the client sends when it connects again. The client fires no event. */
export function formatPosition(id: string): string {
  return breaks(id) ? "" : `id: ${id}\n\n`;
}

/** Sets the time after which the client connects again. */
export function formatRetry(ms: number): string {
  return `retry: ${ms}\n\n`;
}

function jsonOf(data: unknown): string | undefined {
  try {
    return JSON.stringify(data);
  } catch {
    return undefined;
  }
}

/** A client ignores an id with NUL. */
function breaks(text: string): boolean {
  return /[\0\r\n]/.test(text);
}
