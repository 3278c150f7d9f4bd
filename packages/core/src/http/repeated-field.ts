import type { Exchange } from "./exchange.js";

/**
 * The values of a field that stands on several lines of a request; undefined if there is at most one line, or if the
 * framework does not show them. Node keeps only the first line of some fields in `headers`, Authorization among them.
 */
export function repeatedLines(
  { rawHeaders }: Pick<Exchange, "rawHeaders">,
  lowerCaseName: string,
): readonly string[] | undefined {
  if (rawHeaders === undefined || !mayRepeat(rawHeaders, lowerCaseName)) return undefined;
  const lines = rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === lowerCaseName);
  return lines.length > 1 ? lines : undefined;
}

/** Every request with a token comes by here: so length and initial are compared, and names only if two have both. */
function mayRepeat(rawHeaders: readonly string[], lowerCaseName: string): boolean {
  const { length } = lowerCaseName;
  const initial = lowerCaseName.charCodeAt(0);
  let alike = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at];
    if (name?.length === length && (name.charCodeAt(0) | 32) === initial) alike += 1;
  }
  return alike > 1;
}

/** Do the lines of a field say different things, so that others may go by another one than we do? */
export function isContradictory(exchange: Pick<Exchange, "rawHeaders">, lowerCaseName: string): boolean {
  const [first, ...others] = repeatedLines(exchange, lowerCaseName) ?? [];
  return others.some((line) => line.trim() !== first?.trim());
}
