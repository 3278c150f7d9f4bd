/** The directives of a Cache-Control field by their lower-case names; the value is "" without an argument. */
export type Directives = ReadonlyMap<string, string>;

const none: Directives = new Map();

const tokenCharacters = /[!#$%&'*+.^_`|~0-9A-Za-z-]*/y;
const plainArgument = /[^\s",;]*/y;
const betweenDirectives = /[^,"]*/y;

/**
 * Reads a Cache-Control field, also a malformed one. A directive is a token, with a token or a quoted string as its optional
 * argument (RFC 9111 5.2); other text is skipped. Of a repeated directive the smaller number counts, and an argument that is
 * no number counts as 0, so that a malformed field makes no response fresh (RFC 9111 4.2.1).
 */
export function readDirectives(field: string | undefined): Directives {
  return field === undefined || field === "" ? none : new DirectiveReader(field).read();
}

/** Reads each character a bounded number of times, for any input. */
class DirectiveReader {
  readonly #field: string;
  #at = 0;
  /** False once a quoted string had no end: no later one has an end then. An end is a quote after an even number of backslashes. */
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
        // No directive starts here: skip to the next comma.
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

  /** Skips to the comma after a directive, or to a quote without an end. */
  #skipToNext(): void {
    while (this.#at < this.#field.length) {
      this.#take(betweenDirectives);
      if (!this.#skipQuoted()) return;
    }
  }

  /** Skips a quoted string, if one with an end starts here. */
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

/** The largest number of seconds, far below a loss of precision (RFC 9111 1.2.2). */
const maxSeconds = 2 ** 31;

/** Whole seconds; undefined for other text. */
export function readSeconds(text: string): number | undefined {
  return /^\d+$/.test(text) ? Math.min(Number(text), maxSeconds) : undefined;
}

/** The seconds of a directive: undefined if it is absent, `otherwise` if it has no number. */
export function secondsOf(directives: Directives, name: string, otherwise: number): number | undefined {
  const text = directives.get(name);
  return text === undefined ? undefined : (readSeconds(text) ?? otherwise);
}
