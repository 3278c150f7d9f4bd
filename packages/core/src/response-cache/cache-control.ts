/** Directives of a Cache-Control field by their lower-case names; without an argument the value is "". */
export type Directives = ReadonlyMap<string, string>;

const none: Directives = new Map();

const tokenCharacters = /[!#$%&'*+.^_`|~0-9A-Za-z-]*/y;
const plainArgument = /[^\s",;]*/y;
const betweenDirectives = /[^,"]*/y;

/**
 * Reads a Cache-Control field, also a bad one: a directive is a token, and perhaps a token or a quoted string (RFC 9111 5.2).
 * What is between two of them is skipped. Of a directive that is there twice the smaller number counts, and one that is
 * no number counts as 0: what is not understood makes nothing fresh (RFC 9111 4.2.1).
 */
export function readDirectives(field: string | undefined): Directives {
  return field === undefined || field === "" ? none : new DirectiveReader(field).read();
}

/** Looks at each character a bounded number of times, whatever a client sends. */
class DirectiveReader {
  readonly #field: string;
  #at = 0;
  /** Once a quoted string has no end, no later one has: an end is a quote after an even number of backslashes. */
  #mayClose = true;

  constructor(field: string) {
    this.#field = field;
  }

  read(): Directives {
    const field = this.#field;
    const found = new Map<string, string>();
    while (this.#at < field.length) {
      const character = field[this.#at];
      if (character === "," || character === " " || character === "\t") {
        this.#at += 1;
        continue;
      }
      const name = this.#take(tokenCharacters);
      if (name === "") {
        // No directive starts here: on to the next comma.
        const comma = field.indexOf(",", this.#at);
        this.#at = comma === -1 ? field.length : comma + 1;
        continue;
      }
      keepSmaller(found, name.toLowerCase(), this.#readArgument());
      this.#skipToNext();
    }
    return found;
  }

  #readArgument(): string {
    if (this.#field[this.#at] !== "=") return "";
    this.#at += 1;
    const start = this.#at;
    if (!this.#skipQuoted()) return this.#take(plainArgument);
    return this.#field.slice(start + 1, this.#at - 1).replace(/\\([^])/g, "$1");
  }

  /** To the comma behind a directive, or to a quote without an end. */
  #skipToNext(): void {
    while (this.#at < this.#field.length) {
      this.#take(betweenDirectives);
      if (!this.#skipQuoted()) return;
    }
  }

  /** Over a quoted string, if one with an end starts here. */
  #skipQuoted(): boolean {
    if (!this.#mayClose || this.#field[this.#at] !== '"') return false;
    for (let at = this.#at + 1; at < this.#field.length; at += 1) {
      if (this.#field[at] === "\\") at += 1;
      else if (this.#field[at] === '"') {
        this.#at = at + 1;
        return true;
      }
    }
    this.#mayClose = false;
    return false;
  }

  #take(characters: RegExp): string {
    characters.lastIndex = this.#at;
    const [text = ""] = characters.exec(this.#field) ?? [];
    this.#at += text.length;
    return text;
  }
}

function keepSmaller(found: Map<string, string>, name: string, value: string): void {
  const other = found.get(name);
  if (other === undefined || (readSeconds(value) ?? 0) < (readSeconds(other) ?? 0)) found.set(name, value);
}

/** Longer than anything is kept, and far from what loses precision (RFC 9111 1.2.2). */
const maxSeconds = 2 ** 31;

/** Whole seconds; undefined for anything else. */
export function readSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), maxSeconds) : undefined;
}

/** The seconds of a directive: undefined if it is not there, `otherwise` if it is there without a number. */
export function secondsOf(directives: Directives, name: string, otherwise: number): number | undefined {
  const text = directives.get(name);
  return text === undefined ? undefined : (readSeconds(text) ?? otherwise);
}
