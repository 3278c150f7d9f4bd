/** Three parts of base64url without padding: the compact form of RFC 7515 7.1. */
const compactJws = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** Maximum length of a token in characters. Longer tokens are refused without parsing, which could take long. */
export const maxCompactLength = 8192;

/** Does the text have the form of a compact JWS? */
export function isCompactJws(text: string): boolean {
  return compactJws.test(text);
}

/** Is the signature in canonical base64url? Spare bits at its end allow two spellings, which a cache would take for two tokens. */
export function isCanonical(compact: string): boolean {
  const signature = compact.slice(compact.lastIndexOf(".") + 1);
  return Buffer.from(signature, "base64url").toString("base64url") === signature;
}
