import { ServerResponse } from "node:http";
import type { IncomingMessage } from "node:http";
import type { Denied, Problem } from "@portcullis/core";

/** A refusal as clients get it: in `err.data` of `connect_error`, and in the acknowledgement of an event. */
export interface RefusalData extends Problem {
  readonly detail: string;
  /** Seconds until another try may succeed, where the gate knows it. */
  readonly retryAfter?: number | undefined;
}

/** The error that Socket.IO sends to a client as `connect_error`. */
export interface RefusalError extends Error {
  readonly data: RefusalData;
}

export function refusalData({ problem, headers }: Pick<Denied, "problem" | "headers">): RefusalData {
  const retryAfter = Number(headers.find(([name]) => name.toLowerCase() === "retry-after")?.[1]);
  const data = { ...problem, detail: problem.title };
  return Number.isFinite(retryAfter) ? { ...data, retryAfter } : data;
}

export function refusalError(data: RefusalData): RefusalError {
  return Object.assign(new Error(data.title), { data });
}

/** The refusal of a handshake during which code of the application, or ours, has thrown. */
export const failed: RefusalData = {
  type: "about:blank",
  title: "The handshake could not be completed",
  detail: "The handshake could not be completed",
  status: 500,
  code: "store_unavailable",
};

/** The refusal of a client that sends faster than it can be answered. */
export const tooMany: RefusalData = {
  type: "about:blank",
  title: "Too many of your requests on this connection are in progress",
  detail: "Too many of your requests on this connection are in progress",
  status: 429,
  code: "concurrency_exceeded",
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
  const lines = [`HTTP/1.1 ${status} Refused`, "Connection: close", ...headers.map(([name, value]) => `${name}: ${value}`)];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}
