import { subscribe } from "node:diagnostics_channel";
import { inspect } from "node:util";
import { events } from "@portcullis/core";
import { testSecret } from "@portcullis/testkit";

/** Texts that no log line, event or metric may contain, in any test: the key, tokens by their form, and secrets that tests seed. */
const secrets: readonly RegExp[] = [new RegExp(testSecret), /eyJ[\w-]{8,}\.[\w-]{8,}/, /seeded-[\w-]+/, /-password\b/];
const found = new Set<string>();

/** Searches an output of a gate, such as a log line, for secrets. */
export function searchForSecrets(...outputs: unknown[]): void {
  const text = inspect(outputs, { depth: 8, maxStringLength: null, maxArrayLength: null, breakLength: Infinity });
  for (const secret of secrets) if (secret.test(text)) found.add(`${String(secret)} in ${text.slice(0, 500)}`);
}

/** Searches every event of every gate in this process from now on. */
export function watchEvents(): void {
  for (const { name } of Object.values(events)) subscribe(name, (message) => searchForSecrets(name, message));
}

/** The secrets that were found since the last call, each with its text. */
export function takeFoundSecrets(): string[] {
  const all = [...found];
  found.clear();
  return all;
}
