import { targetOf } from "./request-key.js";
import type { ResponseStore } from "./response-store.js";
import { tagNamed, tagOfTarget } from "./tags.js";

/** Ends stored responses before their time. */
export interface Responses {
  /**
   * Ends every response with one of these tags, in every process, also those that handlers are making right now; and every
   * value of the cache with it, as `deleteByTag` of the cache ends responses: a tag is one for both. Rejects with
   * a StoreFault if the store missed it; this process then treats them as gone, and repeats it until the store has it.
   */
  purge(...tags: string[]): Promise<void>;
  /** Ends every response for this path and query, as `"/orders/7?expand=lines"`; as an unsafe request to it does. */
  purgePath(path: string): Promise<void>;
}

export function openResponses(store: ResponseStore): Responses {
  return {
    async purge(...tags) {
      for (const tag of tags)
        if (typeof tag !== "string" || tag === "") throw new TypeError("a tag is a non-empty string");
      await Promise.all(tags.map((tag) => store.purge(tagNamed(tag))));
    },
    async purgePath(path) {
      if (typeof path !== "string" || !path.startsWith("/")) throw new TypeError('a path starts with "/"');
      await store.purge(tagOfTarget(targetOf(path)));
    },
  };
}
