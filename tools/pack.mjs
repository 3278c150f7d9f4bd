// npm run pack -- <dir>: packs the packages as tarballs into a directory, and prints the lines that install them.
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT, runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";
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
  // What a script of a package prints would be mixed with the JSON.
  const words = ["pack", "--json", "--foreground-scripts=false", "--pack-destination", destination];
  const packed = JSON.parse(await runNpm([...words, ...workspaces], ROOT));
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

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));

async function main([target]) {
  if (target === undefined) {
    console.error("Usage: npm run pack -- <dir>\nThe directory of the project that will use the packages.");
    process.exitCode = 1;
    return;
  }
  // npm runs scripts in the repository's root, and says where its user was.
  const directory = resolve(process.env.INIT_CWD ?? process.cwd(), target);
  ensureInstalled();
  const tarballs = await packAll(directory);
  const lineOf = (adapter) =>
    ["npm install", ...["core", adapter].map((folder) => `./${basename(tarballs[folder])}`), adapter].join(" ");
  console.log(`The tarballs are in ${directory}. Install them there:

  cd ${directory}
  ${lineOf("express")}
  ${lineOf("koa")}

Of these two lines, take the one for your framework. Afterwards for Socket.IO:

  npm install ./${basename(tarballs["socket.io"])} socket.io`);
}
