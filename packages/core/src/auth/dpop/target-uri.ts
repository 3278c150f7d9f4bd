/** What a URL parser would quietly drop, turn round or encode, so that two texts became one address. */
const odd = /[^\x21-\x7e]|\\/;
const notPercentEncoded = /%(?![0-9a-f]{2})/i;
const unreserved = /[A-Za-z0-9._~-]/;

/**
 * An http(s) URI as RFC 9449 4.3 compares them: normalised by syntax and by scheme (RFC 3986 6.2.2, 6.2.3), without query
 * and fragment. Undefined for a text that is no such URI.
 */
export function normalizeTargetUri(text: string): string | undefined {
  if (odd.test(text) || notPercentEncoded.test(text) || !/^https?:\/\/[^/?#]/i.test(text)) return undefined;
  const decoded = text.replace(/%[0-9a-f]{2}/gi, normalizeEncoding);
  if (!URL.canParse(decoded)) return undefined;
  const { protocol, host, pathname, username, password } = new URL(decoded);
  return username === "" && password === "" ? `${protocol}//${host}${pathname}` : undefined;
}

/** What needs no percent-encoding has none, and the rest has capital digits. */
function normalizeEncoding(triplet: string): string {
  const character = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
  return unreserved.test(character) ? character : triplet.toUpperCase();
}
