import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * A new directory outside the repository, which is removed when this process ends, by a signal too.
 *
 * @param {string} name What it is for; a part of its path.
 */
export function temporaryDirectory(name) {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), `portcullis-${name}-`)));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  if (process.listenerCount("SIGTERM") === 0) {
    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]]) process.on(signal, () => process.exit(code)); // prettier-ignore
  }
  return directory;
}
