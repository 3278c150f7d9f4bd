import { STATUS_CODES } from "node:http";

/** An RFC 9457 problem of the kind about:blank: it says no more than its status. */
export interface Problem {
  readonly title: string;
  readonly status: number;
}

export function createProblem(status: number): Problem {
  return { title: STATUS_CODES[status] ?? "Error", status };
}

/**
 * The status and headers that an error has for the client, as errors of Portcullis and of body parsers do; 500 for any
 * other. What else an error says stays here.
 */
export function describeError(error: unknown): { status: number; headers: Record<string, string> } {
  const { status, headers } = Object(error) as { status?: unknown; headers?: Record<string, string> };
  const known = typeof status === "number" && status >= 400 && status <= 599;
  return known ? { status, headers: headers ?? {} } : { status: 500, headers: {} };
}
