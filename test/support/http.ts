import { request } from "node:http";
import type { Agent } from "node:http";

export interface TestAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: unknown;
}

export interface SendOptions {
  readonly method?: string;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The client's address, as X-Forwarded-For. */
  readonly from?: string;
  readonly agent?: Agent;
  readonly body?: string;
}

/** The same, with the body as bytes. */
export interface ByteAnswer extends Omit<TestAnswer, "text" | "json"> {
  readonly bytes: Buffer;
}

/** Sends one request over a real socket. */
export async function send(url: string, options: SendOptions = {}): Promise<TestAnswer> {
  const { status, headers, bytes } = await sendForBytes(url, options);
  const text = bytes.toString("utf8");
  const isJson = /json/.test(String(headers["content-type"] ?? "")) && text !== "";
  return { status, headers, text, json: isJson ? (JSON.parse(text) as unknown) : undefined };
}

export async function sendForBytes(url: string, options: SendOptions = {}): Promise<ByteAnswer> {
  const { method = "GET", token, from, agent, body } = options;
  const headers = {
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(from === undefined ? {} : { "x-forwarded-for": from }),
    ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
    ...options.headers,
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, headers, ...(agent === undefined ? {} : { agent }) }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("end", () => {
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, bytes: Buffer.concat(chunks) });
      });
      incoming.on("error", reject);
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** Sends a form, as clients of OAuth endpoints do. */
export async function form(
  url: string,
  fields: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<TestAnswer> {
  const type = { "content-type": "application/x-www-form-urlencoded" };
  return send(url, { method: "POST", body: String(new URLSearchParams(fields)), headers: { ...type, ...headers } });
}
