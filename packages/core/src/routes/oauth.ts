import type { Exchange } from "../http/exchange.js";
import type { Header, Reply } from "../http/verdict.js";
import { outage } from "../lib/outage.js";
import { onlyField } from "../http/form.js";
import { isContradictory } from "../http/fields.js";
import { replyJson } from "./route.js";

/** What a request says of the client that makes it (RFC 6749 2.3.1). */
export interface ClientCredentials {
  readonly id: string;
  /** Undefined for a public client. */
  readonly secret: string | undefined;
}

export const noStore: Header = ["Cache-Control", "no-store"];

export type OAuthErrorCode =
  "invalid_request" | "invalid_client" | "unauthorized_client" | "unsupported_token_type" | "temporarily_unavailable";

/** An error in the words of RFC 6749 5.2: what clients of such endpoints understand. */
export function oauthError(
  status: number,
  error: OAuthErrorCode,
  description: string,
  headers: readonly Header[] = [],
): Reply {
  return replyJson(status, { error, error_description: description }, [...headers, noStore]);
}

/** Says that what was asked for was not done, and may be asked for again. */
export function notRecorded(): Reply {
  const headers = Object.entries(outage.headers);
  return oauthError(outage.status, "temporarily_unavailable", "This could not be recorded; try again", headers);
}

/**
 * The client that a request names, in the Authorization header or in the form; undefined if it names none, null if it does
 * so in two ways (RFC 6749 2.3), or not in one that can be read.
 */
export function readClient<Raw>(
  exchange: Exchange<Raw>,
  fields: URLSearchParams,
): ClientCredentials | undefined | null {
  const basic = isContradictory(exchange, "authorization") ? null : readBasic(exchange.header("authorization"));
  const [id, secret] = [onlyField(fields, "client_id"), onlyField(fields, "client_secret")];
  if (basic === null || id === null || secret === null) return null;
  if (basic !== undefined) return secret === undefined && (id ?? basic.id) === basic.id ? basic : null;
  if (id === undefined) return secret === undefined ? undefined : null;
  return { id, secret };
}

/** Both parts are form-encoded before they are joined. */
function readBasic(header: string | undefined): ClientCredentials | undefined | null {
  const [, encoded] = /^basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(header ?? "") ?? [];
  if (encoded === undefined) return /^basic\b/i.test(header ?? "") ? null : undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  try {
    const [id, secret] = [text.slice(0, colon), text.slice(colon + 1)].map((part) =>
      decodeURIComponent(part.replaceAll("+", " ")),
    );
    return colon < 1 || id === undefined || secret === undefined ? null : { id, secret };
  } catch {
    return null;
  }
}
