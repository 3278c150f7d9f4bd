import { outage } from "../lib/outage.js";
import type { Exchange } from "../http/exchange.js";
import type { Header, Reply, Verdict } from "../http/verdict.js";
import type { Check } from "../request/state.js";
import { allowed } from "../http/verdict.js";
import { optionError } from "../lib/validate.js";

export interface Endpoint<Raw> {
  /** Methods of the endpoint. Requests with other methods pass. */
  readonly methods: readonly string[];
  /** Path of the endpoint, without the query. Requests for other paths pass. */
  readonly path: string;
  readonly answer: (exchange: Exchange<Raw>) => Reply | Promise<Reply>;
}

/** A check that answers the requests for its endpoints and lets all others pass. */
export function answerAt<Raw>(...endpoints: readonly Endpoint<Raw>[]): Check<Raw> {
  const byPath = new Map(endpoints.map((endpoint) => [endpoint.path, endpoint]));
  return function answerEndpoint(exchange): Verdict | Promise<Verdict> {
    const endpoint = byPath.get(pathOf(exchange.url));
    return endpoint === undefined || !endpoint.methods.includes(exchange.method) ? allowed : endpoint.answer(exchange);
  };
}

export const readMethods: readonly string[] = ["GET", "HEAD"];

function pathOf(url: string): string {
  const query = url.indexOf("?");
  return query === -1 ? url : url.slice(0, query);
}

/** A JSON response. */
export function replyJson(status: number, value: unknown, headers: readonly Header[] = []): Reply {
  return reply(status, "application/json", JSON.stringify(value), headers);
}

export function reply(status: number, contentType: string, body: string, headers: readonly Header[] = []): Reply {
  return {
    allowed: false,
    status,
    headers: [...headers, ["Content-Type", contentType], ["Content-Length", String(Buffer.byteLength(body))]],
    body,
  };
}

/** Requires the path of an endpoint: absolute, without a query. */
export function checkPath(option: string, path: unknown): asserts path is string {
  if (typeof path === "string" && /^\/[A-Za-z0-9._~/-]*$/.test(path) && !path.includes("//")) return;
  throw optionError(option, 'must be a path such as "/healthz"');
}

export const noStore: Header = ["Cache-Control", "no-store"];

type OAuthErrorCode =
  "invalid_request" | "invalid_client" | "unauthorized_client" | "unsupported_token_type" | "temporarily_unavailable";

/** An error response of RFC 6749 5.2, which clients of OAuth endpoints understand. */
export function oauthError(
  status: number,
  error: OAuthErrorCode,
  description: string,
  headers: readonly Header[] = [],
): Reply {
  return replyJson(status, { error, error_description: description }, [...headers, noStore]);
}

/** The response to a request that was not carried out, and that the client may repeat. */
export function notRecorded(): Reply {
  return oauthError(outage.status, "temporarily_unavailable", "The request could not be recorded; try again", [
    ["Retry-After", outage.headers["Retry-After"]],
  ]);
}
