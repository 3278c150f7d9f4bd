import type { ChildProcess } from "node:child_process";
import { appendFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificates } from "../net/certificates.js";
import { findRedisServer } from "./binary.js";
import { end, isRunning, launch, waitUntilReady } from "./launch.js";
import { findFreePort } from "./ports.js";
import { reapAtExit } from "./reaper.js";

/** How to start a server. */
export interface RedisServerOptions {
  /** Port on 127.0.0.1. @default a free one */
  readonly port?: number | undefined;
  /** Lines of redis.conf by directive, e.g. `{ "maxmemory": "2mb", "save": "900 1" }`. @default no persistence */
  readonly config?: Readonly<Record<string, string>> | undefined;
  /** Also listen on a unix socket in the server's directory. @default false */
  readonly unixSocket?: boolean | undefined;
  /** Also listen for TLS, on {@link RedisServer.tlsPort}; clients must show a certificate of the same authority. */
  readonly tls?: Certificates | undefined;
  /** Run as a sentinel. @default false */
  readonly sentinel?: boolean | undefined;
}

/** A redis-server process of its own, on loopback. */
export interface RedisServer {
  readonly host: string;
  readonly port: number;
  /** `redis://127.0.0.1:<port>` */
  readonly url: string;
  /** Path of the unix socket, if one was asked for. */
  readonly unixSocket: string | undefined;
  /** Port for TLS, if it was asked for. */
  readonly tlsPort: number | undefined;
  /** Process id; another one after {@link RedisServer.restart}. */
  readonly pid: number;
  /** Freezes the process (SIGSTOP): connections stay open, nothing is answered. */
  readonly pause: () => void;
  /** Lets a paused process go on (SIGCONT). */
  readonly resume: () => void;
  /** Ends the process at once (SIGKILL). Its directory stays for {@link RedisServer.restart}. */
  readonly kill: () => Promise<void>;
  /** Shuts the process down if it runs, and starts it on the same port. Without persistence the data are gone. */
  readonly restart: () => Promise<void>;
  /** Adds lines to redis.conf, for the next {@link RedisServer.restart}. */
  readonly configure: (config: Readonly<Record<string, string>>) => void;
  /** Ends the process, paused or not, and removes its directory. May be called twice. */
  readonly stop: () => Promise<void>;
}

/** Lines of redis.conf for a server that asks for a password, and has it to replicate from another. */
export function passwordConfig(password: string | undefined): Record<string, string> {
  return password === undefined ? {} : { requirepass: password, masterauth: password };
}

const HOST = "127.0.0.1";

/** Starts a real redis-server without persistence in a temporary directory, ready to answer when this resolves. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await findFreePort({ bus: options.config?.["cluster-enabled"] === "yes" }));
    try {
      return await startOn(port, options);
    } catch (error) {
      // Someone else may take a free port between the search and the start.
      const taken = error instanceof Error && /in use/i.test(error.message);
      if (!taken || options.port !== undefined || attempt === 5) throw error;
    }
  }
}

async function startOn(port: number, options: RedisServerOptions): Promise<RedisServer> {
  const binary = await findRedisServer();
  const directory = await mkdtemp(join(tmpdir(), "portcullis-redis-"));
  const tlsPort = options.tls === undefined ? undefined : await findFreePort();
  const unixSocket = options.unixSocket === true ? join(directory, "redis.sock") : undefined;
  let child: ChildProcess | undefined;
  let stopped = false;
  const forget = reapAtExit(directory, () => child);

  async function start(): Promise<void> {
    child = launch(binary, directory, options.sentinel === true ? ["--sentinel"] : []);
    await waitUntilReady(child, directory, port);
  }

  async function stop(): Promise<void> {
    stopped = true;
    if (child !== undefined) await end(child, "SIGKILL");
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
    forget();
  }

  try {
    const basics = options.sentinel === true ? sentinelDefaults(port, directory) : defaults(port, directory);
    const config = { ...basics, ...(unixSocket && { unixsocket: unixSocket }), ...options.config };
    if (options.tls !== undefined) Object.assign(config, await writeCertificates(directory, options.tls, tlsPort));
    await writeFile(join(directory, "redis.conf"), render(config));
    await start();
  } catch (error) {
    await stop();
    throw error;
  }

  return {
    host: HOST,
    port,
    url: `redis://${HOST}:${port}`,
    unixSocket,
    tlsPort,
    get pid() {
      return child?.pid ?? 0;
    },
    pause: () => void child?.kill("SIGSTOP"),
    resume: () => void child?.kill("SIGCONT"),
    async kill() {
      if (child !== undefined) await end(child, "SIGKILL");
    },
    configure: (config) => appendFileSync(join(directory, "redis.conf"), render(config)),
    async restart() {
      if (stopped) throw new Error("a stopped server has no directory left to restart from");
      if (child !== undefined && isRunning(child)) await end(child, "SIGTERM");
      await start();
    },
    stop,
  };
}

function defaults(port: number, directory: string): Record<string, string> {
  return {
    bind: HOST,
    port: `${port}`,
    dir: directory,
    save: "",
    appendonly: "no",
    daemonize: "no",
    // By itself it waits five seconds for further replicas before it sends the first one its data.
    "repl-diskless-sync-delay": "0",
  };
}

/** A sentinel knows nothing of persistence. */
function sentinelDefaults(port: number, directory: string): Record<string, string> {
  return { bind: HOST, port: `${port}`, dir: directory, daemonize: "no" };
}

async function writeCertificates(
  directory: string,
  { ca, server }: Certificates,
  port: number | undefined,
): Promise<Record<string, string>> {
  const files = { "ca.pem": ca, "server.pem": server.cert, "server.key": server.key };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text, { mode: 0o600 });
  return {
    "tls-port": `${port}`,
    "tls-ca-cert-file": "ca.pem",
    "tls-cert-file": "server.pem",
    "tls-key-file": "server.key",
  };
}

function render(config: Readonly<Record<string, string>>): string {
  return Object.entries(config)
    .map(([directive, value]) => `${directive} ${value === "" ? '""' : value}\n`)
    .join("");
}
