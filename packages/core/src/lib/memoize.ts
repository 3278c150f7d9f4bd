import { TwoGenerationCache } from "./two-generation-cache.js";

/** The last results that are kept of one function. */
const maxResults = 4000;
/** Longer arguments are not kept. */
const maxLength = 512;

/** Keeps the last results of a pure function of one text. Bounded in number, and in the length of the texts. */
export function memoize<Result>(make: (text: string) => Result): (text: string) => Result {
  const known = new TwoGenerationCache<string, Result>({ max: maxResults });
  return (text) => {
    if (text.length > maxLength) return make(text);
    let result = known.get(text);
    if (result === undefined) {
      result = make(text);
      known.set(text, result);
    }
    return result;
  };
}
