import { checkObject, checkOneOf } from "../lib/validate.js";
import type { ResponseStore } from "./response-store.js";
import { tagNamed, tagOfPath, tagOfTarget } from "./tags.js";

export interface PurgePathOptions {
  /**
   * Which query strings of the path: `"any"`, whatever the path given says after `?`; or `"exact"`, those with the same
   * parameters in any order and spelling. For a cache with the option `query`, that is the parameters that make a difference.
   * @default "any"
   */
  readonly query?: "any" | "exact" | undefined;
}

/** Ends stored responses before their time. */
export interface Responses {
  /**
   * Ends every response with one of these tags, in every process, also those that handlers are making right now; and every
   * value of the cache with it, as `deleteByTag` of the cache ends responses: a tag is one for both. Rejects with
   * a StoreFault if the store missed it; this process then treats them as gone, and repeats it until the store has it. It is
   * repeated too when the store comes back within a minute, since it may be another one by then.
   */
  purge(...tags: string[]): Promise<void>;
  /**
   * Ends every response for a path, as `"/orders/7"`, with any query, as an unsafe request to it does. Spellings by which
   * a router finds the same count as one: upper and lower case, a slash at the end, escapes. Rejects as `purge` does.
   */
  purgePath(path: string, options?: PurgePathOptions): Promise<void>;
}

export function openResponses(store: ResponseStore): Responses {
  return {
    async purge(...tags) {
      for (const tag of tags)
        if (typeof tag !== "string" || tag === "") throw new TypeError("a tag is a non-empty string");
      await Promise.all(tags.map((tag) => store.purge(tagNamed(tag))));
    },
    async purgePath(path, options = {}) {
      checkObject("purgePath()", options, ["query"]);
      const { query = "any" } = options;
      checkOneOf("purgePath().query", query, ["any", "exact"]);
      if (typeof path !== "string" || !path.startsWith("/")) throw new TypeError('a path starts with "/"');
      await store.purge(query === "any" ? tagOfPath(path) : tagOfTarget(path));
    },
  };
}
