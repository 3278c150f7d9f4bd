/** Directives of a Cache-Control field by their lower-case names; without an argument the value is "". */
export type Directives = ReadonlyMap<string, string>;

const none: Directives = new Map();

/** One directive (RFC 9111 5.2): a token, and perhaps a token or a quoted string. What is between two of them is skipped. */
const directive =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:"((?:[^"\\]|\\[^])*)"|([^\s",;]*)))?[^,"]*(?:"(?:[^"\\]|\\[^])*"[^,"]*)*/y;

/**
 * Reads a Cache-Control field, also a bad one. Of a directive that is there twice the smaller number counts, and one that is
 * no number counts as 0: what is not understood makes nothing fresh (RFC 9111 4.2.1).
 */
export function readDirectives(field: string | undefined): Directives {
  if (field === undefined || field === "") return none;
  const found = new Map<string, string>();
  let at = 0;
  while (at < field.length) {
    const character = field[at];
    if (character === "," || character === " " || character === "\t") {
      at += 1;
      continue;
    }
    directive.lastIndex = at;
    const [text, name, quoted, plain] = directive.exec(field) ?? [];
    if (text === undefined || name === undefined) {
      // No directive starts here: on to the next comma.
      const comma = field.indexOf(",", at);
      at = comma === -1 ? field.length : comma + 1;
      continue;
    }
    at += text.length;
    keep(found, name.toLowerCase(), quoted === undefined ? (plain ?? "") : quoted.replace(/\\([^])/g, "$1"));
  }
  return found;
}

function keep(found: Map<string, string>, name: string, value: string): void {
  const other = found.get(name);
  if (other === undefined || (readSeconds(value) ?? 0) < (readSeconds(other) ?? 0)) found.set(name, value);
}

/** Longer than anything is kept, and far from what loses precision (RFC 9111 1.2.2). */
const mostSeconds = 2 ** 31;

/** Whole seconds; undefined for anything else. */
export function readSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), mostSeconds) : undefined;
}

/** The seconds of a directive: undefined if it is not there, `otherwise` if it is there without a number. */
export function secondsOf(directives: Directives, name: string, otherwise: number): number | undefined {
  const text = directives.get(name);
  return text === undefined ? undefined : (readSeconds(text) ?? otherwise);
}
