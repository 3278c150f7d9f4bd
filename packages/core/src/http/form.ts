import type { Exchange } from "./exchange.js";

/** Enough for every form of OAuth: two tokens of maximum size, and other parameters. */
const bytesOf = (maxTokenLength: number): number => 2 * maxTokenLength + 16_384;

/** The fields of a form, or the reason why there are none. */
export type Form =
  | { readonly kind: "fields"; readonly fields: URLSearchParams }
  | { readonly kind: "too_large" }
  | { readonly kind: "invalid" };

const invalid: Form = { kind: "invalid" };

/** The body of a request as `application/x-www-form-urlencoded` (WHATWG URL 5), parsed here or by an earlier middleware. */
export async function readForm<Raw>(exchange: Exchange<Raw>, maxTokenLength = 8192): Promise<Form> {
  const type = exchange.header("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") return invalid;
  if ((exchange.header("content-encoding") ?? "identity") !== "identity") return invalid;
  const body = await exchange.readBody(bytesOf(maxTokenLength));
  switch (body.kind) {
    case "bytes":
      return { kind: "fields", fields: new URLSearchParams(body.bytes.toString("utf8")) };
    case "parsed":
      return fieldsOf(body.value);
    case "too_large":
      return { kind: "too_large" };
    case "incomplete":
      return invalid;
  }
}

/** The fields of a parsed form: text, bytes, or an object with texts and lists of texts. */
function fieldsOf(value: unknown): Form {
  if (typeof value === "string") return { kind: "fields", fields: new URLSearchParams(value) };
  if (value instanceof Uint8Array)
    return { kind: "fields", fields: new URLSearchParams(Buffer.from(value).toString("utf8")) };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return invalid;
  const fields = new URLSearchParams();
  for (const [name, field] of Object.entries(value)) {
    for (const text of Array.isArray(field) ? (field as unknown[]) : [field]) {
      if (typeof text !== "string") return invalid;
      fields.append(name, text);
    }
  }
  return { kind: "fields", fields };
}

/** The value of a field; undefined if it is missing or empty, null if it is repeated (RFC 6749 3.1 forbids that). */
export function onlyField(fields: URLSearchParams, name: string): string | undefined | null {
  const values = fields.getAll(name);
  if (values.length > 1) return null;
  return values[0] === "" ? undefined : values[0];
}
