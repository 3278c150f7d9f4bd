import { ROOT } from "./child.mjs";
import { runNpm } from "./npm.mjs";

/**
 * Another version of Node, which npm fetches as the package "node".
 *
 * @param {string} wanted such as "24" or "22.12.0"
 * @returns {Promise<{ version: string, path: string }>}
 */
export async function fetchNode(wanted) {
  const program = "({ version: process.version, path: process.execPath })";
  const printed = await runNpm(
    ["exec", "--yes", `--package=node@${wanted}`, "--", "node", "-p", `JSON.stringify(${program})`],
    ROOT,
  );
  return JSON.parse(printed);
}
