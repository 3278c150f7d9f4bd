import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);
const TIMEOUT = { timeout: 300_000 };

/**
 * Installs Redis with the system's package manager: apt as root, else Homebrew.
 *
 * @throws Error if neither can be used.
 */
export async function installServer(): Promise<void> {
  if (process.platform === "darwin") {
    await execute("brew", ["install", "redis"], TIMEOUT);
    return;
  }
  if (process.getuid?.() !== 0) throw new Error("installing a package with apt needs root");
  // Run level 1 keeps the package from starting a service on port 6379.
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  await execute("apt-get", ["update"], { ...TIMEOUT, env });
  await execute("apt-get", ["install", "--yes", "--no-install-recommends", "redis-server"], { ...TIMEOUT, env });
}
