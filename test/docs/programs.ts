import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { root, snippetsOf } from "./documents.js";

/** The programs of a document in a folder of their own, imported into this process. */
export interface Programs {
  /** The exports of a program. */
  load<T>(file: string): Promise<T>;
  remove(): Promise<void>;
}

/**
 * Writes programs of a document into a new folder, so that they can import each other. Each is named by a text that only it
 * contains. `globals` are functions that the programs declare and the application has.
 */
export async function openPrograms(
  document: string,
  files: Readonly<Record<string, string>>,
  globals: Readonly<Record<string, unknown>> = {},
): Promise<Programs> {
  const directory = await mkdtemp(join(root, "test", ".tmp-programs-"));
  for (const [file, text] of Object.entries(files)) {
    const [snippet, ...others] = snippetsOf(document).filter(({ code }) => code.includes(text));
    if (snippet === undefined || others.length > 0) throw new Error(`${document} has not one program with ${text}`);
    await writeFile(join(directory, file), `${snippet.code}\n`);
  }
  Object.assign(globalThis, globals);
  return {
    load: async <T>(file: string): Promise<T> => (await import(pathToFileURL(join(directory, file)).href)) as T,
    async remove() {
      for (const name of Object.keys(globals)) Reflect.deleteProperty(globalThis, name);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Sets variables of the environment while a function runs. Undefined removes one. */
export async function withEnvironment<T>(
  variables: Readonly<Record<string, string | undefined>>,
  run: () => Promise<T>,
): Promise<T> {
  const before = { ...process.env };
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) Reflect.deleteProperty(process.env, name);
    else process.env[name] = value;
  }
  try {
    return await run();
  } finally {
    for (const name of Object.keys(variables)) {
      if (before[name] === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = before[name];
    }
  }
}
