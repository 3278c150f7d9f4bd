import { readList, readTexts } from "./replies.js";

/** Calls until a script has all its keys. More are needed only while other calls change the same records. */
const maxCalls = 4;

/** Most further keys of one call: a script with more would hold up the server. */
const maxKeys = 20_000;

/**
 * Calls a script that finds out which further keys it uses, and replies `keys` with their names before it writes anything.
 * Each further call passes the names of all replies before it. Returns the last reply, or undefined if it would take too
 * many calls or too many keys: nothing was written then.
 */
export async function runDeclared(
  call: (further: readonly string[]) => Promise<unknown>,
  mayCall: (calls: number) => boolean = (calls) => calls < maxCalls,
): Promise<readonly unknown[] | undefined> {
  let further: readonly string[] = [];
  for (let calls = 0; mayCall(calls) && further.length <= maxKeys; calls += 1) {
    const reply = readList(await call(further));
    if (reply[0] !== "keys") return reply;
    further = [...further, ...readTexts(reply[1])];
  }
  return undefined;
}
