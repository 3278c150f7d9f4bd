import { faultsDuring, redisWasUp } from "../history.js";
import type { History, Operation } from "../history.js";
import { applications, guesses, localGuesses, settleMs } from "../settings.js";
import type { Violation } from "./violation.js";
import { groupBy, text } from "./violation.js";

/** The right password is never wrong, and is accepted while Redis answers, whatever failed before. */
export function checkNobodyIsLockedOut(history: History): Violation[] {
  const property = "nobody is locked out for nothing";
  return history.operations
    .filter(({ name, args, left, status }) => name === "login" && args.right === true && !left && status !== 200)
    .filter((one) => one.status === 401 || (isWell(history, one) && one.status !== 0))
    .map((one) => ({
      property,
      message: `the right password was answered ${one.status}`,
      at: one.start,
      evidence: [...before(history, one), one],
    }));
}

/** Had everything been well for a while? A machine that gives processes no time may have given Redis none: that is 503. */
function isWell(history: History, { start, end, process, status }: Operation): boolean {
  if (status === 503 && faultsDuring(history, start, end, { what: ["busy"] }).length > 0) return false;
  if (faultsDuring(history, start - settleMs, end, { what: ["clock"], process }).length > 0) return false;
  return redisWasUp(history, start, end) && redisWasUp(history, start, end, process);
}

function before({ operations }: History, { id, args }: Operation): Operation[] {
  return operations.filter((one) => one.name === "login" && one.id < id && one.args.from === args.from).slice(-6);
}

/** A password that is wrong is looked at so many times, and what the processes grant by themselves while Redis is away. */
export function checkGuesses(history: History): Violation[] {
  const wrong = history.operations.filter(({ name, args }) => name === "login" && args.right === false);
  return [...groupBy(wrong, ({ args }) => `${text(args, "subject")} ${text(args, "from")}`).values()].flatMap(
    (group) => {
      const looked = group.filter(({ status }) => status === 401);
      const [from, until] = [Math.min(...group.map(({ start }) => start)), Math.max(...group.map(({ end }) => end))];
      const most = guesses + (redisWasUp(history, from, until) ? 0 : applications.length * localGuesses);
      if (looked.length <= most) return [];
      const message = `${looked.length} wrong passwords were looked at, and ${most} may be`;
      return [{ property: "guesses are bounded", message, at: from, evidence: group }];
    },
  );
}
