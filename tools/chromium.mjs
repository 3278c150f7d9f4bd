import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const ELSEWHERE = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/**
 * Path of a Chromium: the one that CHROMIUM names, one that is installed, or Debian's, installed now if this runs as root.
 *
 * @throws {Error} that says what to do, if there is none.
 */
export function ensureChromium() {
  const given = process.env.CHROMIUM;
  if (given !== undefined) {
    if (existsSync(given)) return given;
    throw new Error(`CHROMIUM names ${given}, which does not exist`);
  }
  const found = find();
  if (found !== undefined) return found;
  if (process.getuid?.() === 0 && spawnSync("apt-get", ["--version"]).status === 0) {
    console.log("Installing Debian's chromium ...");
    run(["update", "-qq"]);
    run(["install", "-y", "-qq", "--no-install-recommends", "chromium"]);
  }
  const installed = find();
  if (installed !== undefined) return installed;
  throw new Error(
    "There is no Chromium. Install one (Debian, Ubuntu: apt-get install chromium; macOS: brew install --cask chromium), " +
      "or set CHROMIUM to the path of one.",
  );
}

function find() {
  const directories = (process.env.PATH ?? "").split(delimiter);
  const paths = NAMES.flatMap((name) => directories.map((directory) => join(directory, name)));
  return [...paths, ...ELSEWHERE].find((path) => existsSync(path));
}

function run(words) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const { status, stdout, stderr } = spawnSync("apt-get", words, { env, encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(`apt-get ${words.join(" ")} failed:\n${stdout}${stderr}`.trimEnd());
}
