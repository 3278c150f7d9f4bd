/** Longer than any name or e-mail address (RFC 5321 4.5.3.1) that somebody types. */
const mostCharacters = 512;

/**
 * The one spelling of an account's name that attempts are counted by, so that case, Unicode forms, blanks and invisible
 * characters give nobody a fresh counter: NFKC, case folded (by way of upper case, so that "\u00df" is "ss"; a final sigma is a sigma), without
 * characters that nobody sees, blanks trimmed and folded. Undefined for what can be no account's name. It may take two
 * accounts of an application for one; that costs them a shared counter, never a way around.
 */
export function normalizeAccount(name: unknown): string | undefined {
  if (typeof name !== "string" || name.length > mostCharacters || !name.isWellFormed()) return undefined;
  const folded = name
    .normalize("NFKC")
    .replace(invisible, "")
    .toUpperCase()
    .toLowerCase()
    .replaceAll("\u03c2", "\u03c3")
    .normalize("NFKC");
  if (/\p{Cc}/u.test(folded.replace(/\s/g, ""))) return undefined;
  const account = folded.replace(/\s+/g, " ").trim();
  return account === "" ? undefined : account;
}

/** Zero-width and other default-ignorable characters (Unicode 5.21). */
const invisible = /\p{Default_Ignorable_Code_Point}/gu;
