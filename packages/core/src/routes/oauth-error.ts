import type { Header, Reply } from "../http/verdict.js";
import { replyJson } from "./endpoint.js";

export const noStore: Header = ["Cache-Control", "no-store"];

export type OAuthErrorCode =
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
  return oauthError(503, "temporarily_unavailable", "The request could not be recorded; try again", [
    ["Retry-After", "1"],
  ]);
}
