import { subscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import { events } from "@portcullis/core";
import { testSecret } from "@portcullis/testkit";

/** What no log line, event or metric may hold, in any test: the key, whatever looks like a token, and what tests have seeded. */
const secrets: readonly RegExp[] = [new RegExp(testSecret), /eyJ[\w-]{8,}\.[\w-]{8,}/, /seeded-[\w-]+/, /-password\b/];
const overheard = new Set<string>();

/** Listens to something that a gate says to the outside. */
export function hear(...words: unknown[]): void {
  const text = inspect(words, { depth: 8, maxStringLength: null, maxArrayLength: null, breakLength: Infinity });
  for (const secret of secrets) if (secret.test(text)) overheard.add(`${String(secret)} in ${text.slice(0, 500)}`);
}

/** Listens to every event of every gate in this process, from now on. */
export function hearEvents(): void {
  for (const { name } of Object.values(events)) subscribe(name, (message) => hear(name, message));
}

/** What was said and should not have been, since the last call. */
export function takeOverheard(): string[] {
  const all = [...overheard];
  overheard.clear();
  return all;
}
