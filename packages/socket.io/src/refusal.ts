import { STATUS_CODES, ServerResponse } from "node:http";
import type { IncomingMessage } from "node:http";
import type { DenialCode, Denied, Problem } from "@portcullis/core";

/** A refusal as clients get it: in `err.data` of `connect_error`, and in the acknowledgement of an event. */
export interface RefusalData extends Omit<Problem, "code"> {
  /** `"failed"`: a function of the application has thrown. */
  readonly code: DenialCode | "failed";
  /** A sentence for people. */
  readonly detail: string;
  /** Seconds until another try may succeed, where the gate knows it. */
  readonly retryAfter?: number | undefined;
}

/** The error that Socket.IO sends to a client as `connect_error`. */
export interface RefusalError extends Error {
  /** The refusal. */
  readonly data: RefusalData;
}

export function refusalData({ problem, headers }: Pick<Denied, "problem" | "headers">): RefusalData {
  const retryAfter = Number(headers.find(([name]) => name.toLowerCase() === "retry-after")?.[1]);
  const data = { ...problem, detail: problem.detail ?? problem.title };
  return Number.isFinite(retryAfter) ? { ...data, retryAfter } : data;
}

export function refusalError(data: RefusalData): RefusalError {
  return Object.assign(new Error(data.detail), { data });
}

function ownRefusal(code: RefusalData["code"], status: number, detail: string): RefusalData {
  return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, detail, code };
}

/** The refusal where a function of the application has thrown. */
export const failed: RefusalData = ownRefusal("failed", 500, "The request could not be checked");

/** The refusal of a client that sends faster than it can be answered. */
export const tooMany: RefusalData = {
  ...ownRefusal("concurrency_exceeded", 429, "Too many requests on this connection are in progress"),
  retryAfter: 1,
};

/** Answers a handshake of Engine.IO. For an upgrade, Engine.IO passes an object that writes nothing. */
export function answerRequest(req: IncomingMessage, res: object, { status, headers, body }: Denied): void {
  if (res instanceof ServerResponse) {
    res.statusCode = status;
    for (const [name, value] of headers) res.setHeader(name, value);
    res.end(body);
    return;
  }
  const { socket } = req;
  socket.on("error", () => undefined);
  const lines = [
    `HTTP/1.1 ${status} Refused`,
    "Connection: close",
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
