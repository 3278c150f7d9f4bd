/** Three parts of base64url without padding: the compact form of RFC 7515 7.1. */
const compactJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Longer ones are refused unparsed: parsing must not be a way to burn our time. */
export const maxCompactLength = 8192;

export function isCompactJws(text: string): boolean {
  return compactJws.test(text);
}

/** base64url has spare bits at its end: two spellings of one signature would be two tokens to a cache. */
export function isCanonical(compact: string): boolean {
  const signature = compact.slice(compact.lastIndexOf(".") + 1);
  return Buffer.from(signature, "base64url").toString("base64url") === signature;
}
