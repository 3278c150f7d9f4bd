// Carries out a Dockerfile without a Docker engine: its steps, one by one, in directories that stand for the stages.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { npmEnvironment, run } from "./npm.mjs";

/**
 * Knows the instructions of the examples' Dockerfiles, and throws at others. Base images stand for the Node that runs
 * this; users are not changed.
 *
 * @param {string} context The directory with the Dockerfile.
 * @param {string} base An empty directory for the stages.
 * @returns {Promise<{ directory: string, env: Record<string, string>, user: string | undefined, command: string[],
 *   healthcheck: string[] }>} The image: its working directory, its variables, and what it runs.
 */
export async function carryOut(context, base) {
  const stages = new Map();
  let stage;

  const within = (root, path) => (path.startsWith("/") ? join(root, path) : join(root, stage.workdir, path));
  const instructions = {
    FROM(words) {
      const [, image, name = `${stages.size}`] = /^(\S+)(?: AS (\S+))?$/.exec(words);
      // Even majors get long-term support; those before 22 are out of it.
      assert.match(image, /^node:(22|24)-(alpine|slim)$/, "a base image without a Node in support");
      stage = { root: join(base, name), workdir: "/", env: {} };
      stages.set(name, stage);
    },
    WORKDIR(path) {
      stage.workdir = path;
      mkdirSync(join(stage.root, path), { recursive: true });
    },
    ENV(words) {
      Object.assign(stage.env, Object.fromEntries(words.split(" ").map((word) => word.split("="))));
    },
    COPY(words) {
      const [, name, paths] = /^(?:--from=(\S+) )?([^-].*)$/.exec(words);
      const sources = paths.split(" ");
      const target = sources.pop();
      for (const source of sources.flatMap((path) => expand(name ? stages.get(name).root : context, path))) {
        const into = target.endsWith("/") ? join(target, basename(source)) : target;
        cpSync(source, within(stage.root, into), { recursive: true });
      }
    },
    async RUN(command) {
      const env = { ...npmEnvironment(), ...stage.env };
      await run("sh", ["-c", command], { cwd: join(stage.root, stage.workdir), env });
    },
    USER: (user) => (stage.user = user),
    EXPOSE() {},
    HEALTHCHECK: (words) => (stage.healthcheck = JSON.parse(/ CMD (\[.*\])$/.exec(words)[1])),
    CMD: (words) => (stage.command = JSON.parse(words)),
  };

  const text = readFileSync(join(context, "Dockerfile"), "utf8").replaceAll(/\\\n\s*/g, "");
  for (const line of text.split("\n").filter((each) => each !== "" && !each.startsWith("#"))) {
    const [, instruction, words] = /^([A-Z]+) (.*)$/.exec(line);
    assert.ok(instruction in instructions, `an instruction that this does not know: ${line}`);
    await instructions[instruction](words);
  }
  const { root, workdir, env, user, command, healthcheck } = stage;
  return { directory: join(root, workdir), env, user, command, healthcheck };
}

function expand(root, path) {
  if (!path.includes("*")) return [join(root, path)];
  const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
  return readdirSync(root)
    .filter((name) => pattern.test(name))
    .map((name) => join(root, name));
}
