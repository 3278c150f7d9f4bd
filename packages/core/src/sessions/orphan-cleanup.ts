import { setTimeout as sleep } from "node:timers/promises";

export type EndSession = (principal: string, sessionId: string) => Promise<unknown>;

/** Milliseconds before each further attempt: Redis may stand still for seconds. */
const pauses = [500, 2000, 8000];
/** Sessions under way at once; beyond them one is left to end by itself. */
const most = 100;

/**
 * Ends sessions whose tokens nobody gets, since the store failed while they began: they must not count against the user's
 * number of sessions, nor stand in a list. What fails is tried again in the background for some seconds.
 */
export class OrphanCleanup {
  readonly #end: EndSession;
  #underWay = 0;

  constructor(end: EndSession) {
    this.#end = end;
  }

  /** Resolves after the first attempt, whatever came of it. */
  async begin(principal: string, sessionId: string): Promise<void> {
    if (!(await this.#attempt(principal, sessionId))) void this.#goOn(principal, sessionId);
  }

  async #goOn(principal: string, sessionId: string): Promise<void> {
    if (this.#underWay >= most) return;
    this.#underWay += 1;
    for (const pause of pauses) {
      await sleep(pause, undefined, { ref: false });
      if (await this.#attempt(principal, sessionId)) break;
    }
    this.#underWay -= 1;
  }

  async #attempt(principal: string, sessionId: string): Promise<boolean> {
    return this.#end(principal, sessionId).then(
      () => true,
      () => false,
    );
  }
}
