import { spawn } from "node:child_process";
import { once } from "node:events";
import { findFreePort } from "@portcullis/testkit";
import { root } from "../../docs/documents.js";
import { until } from "../../support/until.js";

/** An example application in a process of its own. */
export interface RunningExample {
  readonly url: string;
  readonly port: number;
  readonly password: (user: "alice" | "admin") => string;
  /** The link in the mail to this address, once it is printed. */
  link(email: string): Promise<string>;
  stop(): Promise<void>;
}

export interface StartOptions {
  /** In process without. */
  readonly redis: string | undefined;
  readonly secret: string;
  /** @default a free one */
  readonly port?: number;
  /** @default false */
  readonly production?: boolean;
}

/** Starts an example that was built. */
export async function startExample(name: string, { redis, secret, ...on }: StartOptions): Promise<RunningExample> {
  const port = on.port ?? (await findFreePort());
  const kind = on.production === true ? { NODE_ENV: "production" } : {};
  // The machine also runs the browser.
  const env = { ...process.env, ...kind, DEADLINE_MS: "2000", PORT: `${port}`, JWT_SECRET: secret, REDIS_URL: redis };
  const child = spawn(process.execPath, [`examples/${name}/dist/main.js`], { cwd: root, env, stdio: "pipe" });
  const closed = once(child, "close");
  let output = "";
  const listening = new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (/^user: admin {2}password: \S+$/m.test(output)) resolve();
      });
    void closed.then(() => reject(new Error(`${name} ended:\n${output}`)));
  });
  await listening;
  const url = `http://127.0.0.1:${port}`;
  // It listens before it is connected to Redis.
  await until(async () => (await fetch(`${url}/readyz`)).ok);
  return {
    url,
    port,
    password: (user) => new RegExp(`^user: ${user} {2}password: (\\S+)$`, "m").exec(output)?.[1] ?? "",
    async link(email) {
      const mail = new RegExp(`^mail to ${email}\\n.*: (\\S+)$`, "m");
      await until(() => mail.test(output));
      return mail.exec(output)?.[1] ?? "";
    },
    async stop() {
      if (child.exitCode !== null) console.error(`${name} ended by itself:\n${output}`);
      child.kill("SIGKILL");
      await closed;
    },
  };
}
