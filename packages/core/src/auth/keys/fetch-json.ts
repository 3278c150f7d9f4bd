import type { lookup } from "node:dns";
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { AddressRefused, guardLookup } from "./private-address.js";

export interface FetchOptions {
  /** Ends the request; its reason, if it is a FetchFailure, says why. */
  readonly signal: AbortSignal;
  readonly maxBytes: number;
  readonly allowPrivateAddresses: boolean;
  /** May an address of this machine be asked? Only where the options name it. @default true */
  readonly allowLoopback?: boolean | undefined;
  /** How names are resolved. @default that of node:dns */
  readonly resolve?: typeof lookup | undefined;
}

/** What went wrong with a fetch, in words that may be logged: no address, no content. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  /** The status of the answer, if that was it. */
  readonly status: number | undefined;

  constructor(message: string, status?: number) {
    super(message);
    this.status = status;
  }
}

/** What may be logged of an error of a fetch. Messages of other errors may quote the address, and a password in it. */
export function reasonOf(error: unknown): string {
  if (error instanceof FetchFailure || error instanceof AddressRefused) return error.message;
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^[A-Z0-9_]+$/.test(code) ? `the request failed: ${code}` : "the request failed";
}

/**
 * Fetches a JSON document by a connection of its own. Redirects are not followed, and a document that is too long is not
 * read to its end. Rejects with errors whose {@link reasonOf} names no address and quotes no content.
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
    // Not toString(): a byte order mark is no part of JSON.
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
      // A connection kept for ten minutes would be an open handle, and broken when it is wanted.
      agent: false,
      // Some networks in front of providers refuse requests that do not say who they are.
      headers: { accept: "application/json", "accept-encoding": "identity", "user-agent": "portcullis" },
    });
    outgoing.on("response", settle).on("error", reject);
    // Whatever else may end it, an upgrade for instance, nobody must wait for ever.
    outgoing.on("close", () => reject(new FetchFailure("the connection was closed without an answer")));
    outgoing.end();
  });
}
