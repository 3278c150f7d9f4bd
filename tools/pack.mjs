import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { ROOT, runNode } from "./child.mjs";
import { runNpm } from "./npm.mjs";

/** Folders of the packages that are published, under packages/. */
export const PUBLISHED = ["core", "express", "koa", "socket.io"];

/**
 * Builds the packages and packs them into a directory, which is made if need be.
 *
 * @param {string} directory
 * @returns {Promise<Record<string, string>>} Absolute paths of the tarballs, by the packages' folders.
 */
export async function packAll(directory) {
  const destination = resolve(directory);
  mkdirSync(destination, { recursive: true });
  for (const folder of PUBLISHED) removeStale(join(ROOT, "packages", folder));
  if ((await runNode(["node_modules/typescript/bin/tsc", "-b"])) !== 0) throw new Error("the packages do not compile");
  const workspaces = PUBLISHED.flatMap((folder) => ["-w", `packages/${folder}`]);
  const packed = JSON.parse(await runNpm(["pack", "--json", "--pack-destination", destination, ...workspaces], ROOT));
  // npm 12 answers an object by package name, older ones a list.
  const files = Object.values(packed);
  const pathOf = (folder) => join(destination, files.find(({ name }) => name === `@portcullis/${folder}`).filename);
  return Object.fromEntries(PUBLISHED.map((folder) => [folder, pathOf(folder)]));
}

/** The compiler leaves behind what it once made of sources that are gone; that must not be published. */
function removeStale(folder) {
  const built = existsSync(join(folder, "dist")) ? readdirSync(join(folder, "dist"), { recursive: true }) : [];
  for (const file of built.filter((name) => /\.(js|d\.ts)$/.test(name))) {
    const source = join(folder, "src", file.replace(/\.(js|d\.ts)$/, ".ts"));
    if (!existsSync(source)) rmSync(join(folder, "dist", file));
  }
}
