import { GrowingLru } from "../lib/growing-lru.js";

/** Longer than any name or e-mail address (RFC 5321 4.5.3.1) that a user types. */
const maxCharacters = 512;

/**
 * Normalizes the name of an account for counting: case, Unicode forms, blanks and invisible characters must not give an
 * attacker a fresh counter. The result is NFKC, case folded (by way of upper case, so that "\u00df" is "ss", and a final sigma is
 * a sigma), without invisible characters, blanks trimmed and folded. Undefined for text that cannot be a name. Two accounts of
 * an application may get one counter, but no account gets two.
 */
export function normalizeAccount(name: unknown): string | undefined {
  if (typeof name !== "string" || name.length > maxCharacters || !name.isWellFormed()) return undefined;
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

/**
 * Folds the name of an account as databases may do when they look it up: in many collations letters are equal that differ by
 * accent or case alone (MySQL's utf8mb4_0900_ai_ci, SQL Server's CI_AI), and each spelling would have a counter of its own.
 * Expects a normalized name. Compatibility forms are decomposed. Letters of Latin, Greek and Cyrillic lose their marks and
 * strokes, ligatures are split, and digits of all scripts become ASCII, since the root collation of Unicode (UTS 10) has them
 * equal at its first level. A double s becomes one s: some collations equate a sharp s with one s, some with two. Marks of
 * other scripts are letters or vowels, and stay. Two accounts may fold to one name; then they share a counter.
 */
export function foldAccount(account: string): string {
  const folded = plain.test(account) ? account : foldLetters(account.normalize("NFKD"));
  const name = folded
    .replace(smallIota, "")
    .replace(/l\u00b7/g, "l")
    .replace(/s+/g, "s")
    .replace(/\s+/g, " ")
    .trim();
  return name === "" ? account : name;
}

/** ASCII is folded already, except a double s. */
const plain = /^[\x20-\x7e]*$/;
const accented = /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}]/u;
const numeric = /[\p{N}\p{So}]/u;
const invisibleSymbol = /[\p{Cf}\p{Cn}\p{Co}\p{Sk}\p{So}]/u;

/** The iota under a letter is a mark that upper case turns into a letter. It stands under Greek vowels, or by hand anywhere. */
const smallIota = /(?<=[^\p{Script=Greek}\s]|[\u03b1\u03b7\u03c9])\u03b9+/gu;

function foldLetters(text: string): string {
  const hasAccentedScript = accented.test(text);
  let folded = "";
  // Is the last letter one of a script whose marks are letters?
  let keepsMarks = false;
  // A mark that stands alone decomposes into a blank and the mark.
  for (const letter of text.replace(/ (?=\p{M})/gu, "")) {
    if (letter <= "\x7f") {
      folded += letter;
      keepsMarks = false;
    } else if (/\p{M}/u.test(letter)) {
      folded += keepsMarks ? letter : (baseOf(letter) ?? "");
    } else if (accented.test(letter) || numeric.test(letter)) {
      keepsMarks = false;
      folded += baseOf(letter) ?? (invisibleSymbol.test(letter) ? "" : letter);
    } else if (!keepsMarks && (invisibleSymbol.test(letter) || isIgnored(letter))) {
      continue;
      // Some collations ignore letters beyond the first plane of Unicode.
    } else if (!(hasAccentedScript && letter.length > 1)) {
      folded += letter;
      keepsMarks = /\p{L}/u.test(letter);
    }
  }
  return folded;
}

const collator = new Intl.Collator("en", { sensitivity: "base" });
const bases = listBases();
const knownBases = new GrowingLru<string, string>({ max: 5000 });

/** The plain letters or digits that the collation equates with a letter. Undefined if there are none. */
function baseOf(letter: string): string | undefined {
  let base = knownBases.get(letter);
  if (base === undefined) knownBases.set(letter, (base = findBase(letter) ?? ""));
  return base === "" ? undefined : base;
}

function findBase(letter: string): string | undefined {
  let [low, high] = [0, bases.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const order = collator.compare(letter, bases[middle] as string);
    if (order === 0) return bases[middle];
    if (order < 0) high = middle - 1;
    else low = middle + 1;
  }
  return undefined;
}

function isIgnored(letter: string): boolean {
  return collator.compare(`x${letter}`, "x") === 0;
}

/** Digits, letters and pairs of letters of ASCII, and Greek and Cyrillic letters without marks, in sorting order. */
function listBases(): string[] {
  const letters = Array.from("abcdefghijklmnopqrstuvwxyz");
  const pairs = letters.flatMap((first) => letters.map((second) => first + second));
  const others = [...range(0x3b1, 0x3c1), ...range(0x3c3, 0x3c9), ...range(0x430, 0x44f), ...range(0x450, 0x45f)];
  const unmarked = others.filter((letter) => letter.normalize("NFKD") === letter);
  return [...Array.from("0123456789"), ...letters, ...pairs, ...unmarked].sort(collator.compare);
}

function range(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => String.fromCodePoint(first + index));
}
