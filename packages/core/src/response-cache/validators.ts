import { createHash } from "node:crypto";
import { readDate } from "../http/fields.js";

/** An entity tag for these bytes (RFC 9110 8.8.3). */
export function entityTag(body: Uint8Array, kind: "strong" | "weak"): string {
  const tag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 27)}"`;
  return kind === "weak" ? `W/${tag}` : tag;
}

/** The preconditions of a request that a cache can answer. */
export interface Preconditions {
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  /** Undefined where the handler evaluates it. */
  readonly ifMatch?: string | undefined;
  readonly ifUnmodifiedSince?: string | undefined;
}

interface Validators {
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** True if the client has the current representation (RFC 9110 13.2.2). If-Modified-Since counts only without If-None-Match. */
export function isNotModified(
  { ifNoneMatch, ifModifiedSince }: Preconditions,
  { etag, lastModified }: Validators,
  nowMs: number,
): boolean {
  if (ifNoneMatch !== undefined) return namesTag(ifNoneMatch, etag);
  const since = readDate(ifModifiedSince, nowMs);
  const modified = readDate(lastModified, nowMs);
  return since !== undefined && modified !== undefined && modified <= since;
}

/**
 * True if the client asks for another representation than this (RFC 9110 13.1.1 and 13.1.4). If-Unmodified-Since counts only
 * without If-Match.
 */
export function isPreconditionFailed(
  { ifMatch, ifUnmodifiedSince }: Preconditions,
  { etag, lastModified }: Validators,
  nowMs: number,
): boolean {
  if (ifMatch !== undefined) return !namesTagStrongly(ifMatch, etag);
  const since = readDate(ifUnmodifiedSince, nowMs);
  const modified = readDate(lastModified, nowMs);
  return since !== undefined && modified !== undefined && modified > since;
}

/** The strong comparison (RFC 9110 8.8.3.2): a weak tag equals no tag. */
function namesTagStrongly(list: string, etag: string | undefined): boolean {
  if (list.trim() === "*") return true;
  return etag?.startsWith('"') === true && (list.match(tagInList) ?? []).some((tag) => tag === etag);
}

const tagInList = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/g;

/** The weak comparison (RFC 9110 8.8.3.2) with each tag of the list. */
function namesTag(list: string, etag: string | undefined): boolean {
  if (list.trim() === "*") return true;
  if (etag === undefined) return false;
  const opaque = etag.replace(/^W\//, "");
  return (list.match(tagInList) ?? []).some((tag) => tag.replace(/^W\//, "") === opaque);
}
