import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { basename, delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { inspectServer } from "./candidate.js";
import type { RedisBinary } from "./candidate.js";

const PACKAGES = ["redis-server", "redis-tools", "libjemalloc2", "liblzf1"];
const LIBRARIES = ["x86_64-linux-gnu", "aarch64-linux-gnu"].flatMap((arch) => [`usr/lib/${arch}`, `lib/${arch}`]);
const DISTRIBUTION_SOURCES = ["debian.sources", "ubuntu.sources"].map((name) => `/etc/apt/sources.list.d/${name}`);

const execute = promisify(execFile);

/** Returns the server that {@link fetchServer} left in `cache`. Rejects if there is none or it does not run. */
export function inspectFetched(cache: string): Promise<RedisBinary> {
  const inherited = process.env.LD_LIBRARY_PATH;
  const paths = LIBRARIES.map((directory) => join(cache, directory)).concat(inherited ? [inherited] : []);
  return inspectServer(join(cache, "usr/bin/redis-server"), {
    ...process.env,
    LD_LIBRARY_PATH: paths.join(delimiter),
  });
}

/**
 * Downloads Debian's or Ubuntu's redis-server and unpacks it into `cache`, without root and without touching the system:
 * apt gets private list and cache directories. Safe to call from several processes at once.
 */
export async function fetchServer(cache: string): Promise<RedisBinary> {
  await mkdir(dirname(cache), { recursive: true });
  const work = await mkdtemp(join(dirname(cache), `.${basename(cache)}-`));
  try {
    const unpacked = join(work, "root");
    await downloadPackages(work, (apt, cwd) => execute("apt-get", [...apt, "download", ...PACKAGES], { cwd }));
    await unpack(join(work, "archives"), unpacked);
    if (!(await runs(unpacked))) {
      // A slim image may lack further libraries, named differently in each release: let apt work them out.
      await downloadPackages(work, (apt) =>
        execute("apt-get", [...apt, "install", "--yes", "--download-only", "--no-install-recommends", "redis-server"]),
      );
      await unpack(join(work, "archives"), unpacked);
    }
    await inspectFetched(unpacked);
    await publish(unpacked, cache);
    return await inspectFetched(cache);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function downloadPackages(
  work: string,
  download: (apt: readonly string[], archives: string) => Promise<unknown>,
): Promise<void> {
  const archives = join(work, "archives");
  await mkdir(join(archives, "partial"), { recursive: true });
  await mkdir(join(work, "lists", "partial"), { recursive: true });
  const apt = [
    "--quiet",
    "-oAPT::Sandbox::User=",
    "-oAcquire::Languages=none",
    "-oAcquire::Retries=2",
    "-oDebug::NoLocking=1",
    `-oDir::State::lists=${join(work, "lists")}`,
    `-oDir::Cache=${work}`,
    `-oDir::Cache::archives=${archives}`,
    ...selectSources(),
  ];
  // A mirror that is partly down fails the update although the packages can be had: the download decides.
  const update = execute("apt-get", [...apt, "update"], { timeout: 120_000 });
  const refusals: unknown[] = await update.then(
    () => [],
    (error: unknown) => [error],
  );
  try {
    await download(apt, archives);
  } catch (error) {
    throw new AggregateError([...refusals, error], `apt-get could not download ${PACKAGES.join(", ")}`);
  }
}

/** Asking only the distribution's own mirror keeps a dead third-party source from holding up the tests. */
function selectSources(): string[] {
  const sources = DISTRIBUTION_SOURCES.find((file) => existsSync(file));
  return sources === undefined ? [] : [`-oDir::Etc::sourcelist=${sources}`, "-oDir::Etc::sourceparts=-"];
}

async function unpack(archives: string, target: string): Promise<void> {
  for (const file of await readdir(archives)) {
    // The C library must stay the one that the system's loader belongs to.
    if (file.endsWith(".deb") && !file.startsWith("libc6_"))
      await execute("dpkg", ["-x", join(archives, file), target]);
  }
}

function runs(unpacked: string): Promise<boolean> {
  return inspectFetched(unpacked).then(
    () => true,
    () => false,
  );
}

/** Moves a complete tree into place. Another process may have been faster; what it left is kept if it runs. */
async function publish(unpacked: string, cache: string): Promise<void> {
  try {
    await rename(unpacked, cache);
  } catch (error) {
    if (await runs(cache)) return;
    if (!existsSync(cache)) throw error;
    await rename(cache, `${unpacked}-broken`);
    await rename(unpacked, cache);
  }
}
