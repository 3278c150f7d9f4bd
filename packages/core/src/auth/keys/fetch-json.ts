import type { lookup } from "node:dns";
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { AddressRefused, guardLookup } from "./private-address.js";

export interface FetchOptions {
  /** Aborts the request; a FetchFailure as its reason is the error. */
  readonly signal: AbortSignal;
  readonly maxBytes: number;
  readonly allowPrivateAddresses: boolean;
  /** Allow addresses of this machine? Only for issuers that the options name. @default true */
  readonly allowLoopback?: boolean | undefined;
  /** Resolves host names. @default lookup of node:dns */
  readonly resolve?: typeof lookup | undefined;
}

/** The failure of a fetch. Its message may be logged: it contains no address and no content. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  /** The status of the answer, if the status is the reason. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.status = status;
  }
}

/** The reason of a failed fetch for logs. Messages of other errors may quote the address, and a password in it. */
export function reasonOf(error: unknown): string {
  if (error instanceof FetchFailure || error instanceof AddressRefused) return error.message;
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^[A-Z0-9_]+$/.test(code) ? `the request failed: ${code}` : "the request failed";
}

/**
 * Fetches a JSON document on a new connection. Does not follow redirects and stops reading a document that is too long. The
 * {@link reasonOf} its errors contains no address and no content.
 */
export async function fetchJson(url: string, options: FetchOptions): Promise<unknown> {
  const response = await send(new URL(url), options);
  const { statusCode: status = 0 } = response;
  if (status !== 200) {
    response.destroy();
    const kind = status >= 300 && status < 400 ? "is a redirect, which is not followed," : "is not a document,";
    throw new FetchFailure(`the answer ${kind} with status ${status}`, status);
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > options.maxBytes) throw new FetchFailure(`the answer is longer than ${options.maxBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    // Not toString(), which keeps a byte order mark.
    return JSON.parse(new TextDecoder().decode(Buffer.concat(chunks))) as unknown;
  } catch {
    throw new FetchFailure("the answer is not JSON");
  }
}

function send(url: URL, options: FetchOptions): Promise<IncomingMessage> {
  const { signal, allowPrivateAddresses, allowLoopback, resolve } = options;
  const request = url.protocol === "https:" ? requestHttps : requestHttp;
  return new Promise((settle, reject) => {
    const outgoing = request(url, {
      signal,
      lookup: guardLookup(url.hostname, allowPrivateAddresses, resolve, allowLoopback),
      // A connection kept for ten minutes would be an open handle, and broken when needed.
      agent: false,
      // Some providers refuse requests without a user agent.
      headers: { accept: "application/json", "accept-encoding": "identity", "user-agent": "portcullis" },
    });
    outgoing.on("response", settle).on("error", reject);
    // Every other end, such as an upgrade, must reject too.
    outgoing.on("close", () => reject(new FetchFailure("the connection was closed without an answer")));
    outgoing.end();
  });
}
