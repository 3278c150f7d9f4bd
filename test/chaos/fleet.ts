import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Order, Report } from "./app/messages.js";
import { monotonicMs } from "./history.js";
import type { Recorder } from "./history.js";
import { applications, exitMs } from "./settings.js";

const script = fileURLToPath(new URL("./app/main.ts", import.meta.url));
const execArgv = ["--import=tsx", "--conditions=@portcullis/source", "--max-old-space-size=512"];

/** An application process, in its present life. */
interface Life {
  readonly child: ChildProcess;
  readonly number: number;
  url: string;
  ready: boolean;
  /** When the test ended it, and how. */
  ended: { readonly at: number; readonly how: "killed" | "asked" } | undefined;
  readonly gone: Promise<void>;
}

export interface FleetOptions {
  readonly recorder: Recorder;
  readonly seed: number;
  readonly replicas: number;
  readonly redisFor: (process: number) => string | object;
}

/** What a process uses. */
export interface Measured {
  readonly heapBytes: number;
  /** Streams that it holds open. */
  readonly openConnections: number;
}

/** What is said of a process that got no time from the machine. */
export const busy = { type: "fault", kind: "a process got no time", what: "busy", loses: false } as const;

/** The application processes, and the data source that they share. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #lives: Life[] = [];
  readonly #versions = new Map<string, number>();
  readonly #fenced = new Map<string, { readonly fence: number; readonly value: number }>();
  readonly #measuring = new Map<number, (measured: Measured) => void>();
  readonly #stderr: string[] = [];

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** The last words of the processes. */
  get stderr(): string {
    return this.#stderr.join("");
  }

  async start(): Promise<void> {
    await Promise.all(applications.map((_, index) => this.#begin(index)));
  }

  /** Where to ask it, and which life of it that is; undefined while it is down. */
  find(index: number): { readonly url: string; readonly life: number } | undefined {
    const life = this.#lives[index];
    return life?.ready === true ? { url: life.url, life: life.number } : undefined;
  }

  /** The first process from this one on that is up, as a load balancer would find it. */
  findFrom(index: number): { readonly process: number; readonly url: string; readonly life: number } | undefined {
    for (let step = 0; step < applications.length; step += 1) {
      const process = (index + step) % applications.length;
      const found = this.find(process);
      if (found !== undefined) return { process, ...found };
    }
    return undefined;
  }

  setClock(index: number, aheadMs: number): void {
    this.#send(index, { type: "clock", aheadMs });
  }

  pause(index: number): void {
    this.#lives[index]?.child.kill("SIGSTOP");
  }

  resume(index: number): void {
    this.#lives[index]?.child.kill("SIGCONT");
  }

  /** Ends a process, at once or by asking it, and starts it anew. */
  async restart(index: number, how: "killed" | "asked"): Promise<void> {
    await this.#end(index, how);
    await this.#begin(index);
  }

  /** Asks all processes to end. */
  async stop(): Promise<void> {
    await Promise.all(this.#lives.map((_, index) => this.#end(index, "asked")));
  }

  /** Ends whatever still runs, without a word in the history. */
  destroy(): void {
    for (const life of this.#lives) {
      life.ended ??= { at: monotonicMs(), how: "killed" };
      life.child.kill("SIGKILL");
    }
  }

  async measure(): Promise<Measured[]> {
    return Promise.all(
      this.#lives.map(
        (_, index) =>
          new Promise<Measured>((resolve) => {
            this.#measuring.set(index, resolve);
            this.#send(index, { type: "measure" });
          }),
      ),
    );
  }

  #send(index: number, order: Order): void {
    const child = this.#lives[index]?.child;
    if (child?.connected === true) child.send(order, () => undefined);
  }

  async #begin(index: number): Promise<void> {
    const { seed, replicas, redisFor } = this.#options;
    const child = fork(script, { execArgv, stdio: ["ignore", "inherit", "pipe", "ipc"] });
    const number = (this.#lives[index]?.number ?? 0) + 1;
    const gone = once(child, "exit").then(([code]: unknown[]) => this.#noteEnd(index, life, code as number | null));
    const life: Life = { child, number, url: "", ready: false, ended: undefined, gone };
    this.#lives[index] = life;
    child.stderr?.on("data", (bytes: Buffer) => {
      this.#stderr.push(bytes.toString());
      if (this.#stderr.length > 200) this.#stderr.shift();
    });
    const listening = new Promise<void>((resolve) => {
      child.on("message", (report: Report) => {
        if (report.type === "listening") {
          life.url = report.url;
          life.ready = true;
          resolve();
        } else this.#hear(index, life, report);
      });
    });
    this.#send(index, { type: "start", process: index, redis: redisFor(index), seed, replicas });
    await Promise.race([listening, gone]);
  }

  #hear(index: number, life: Life, report: Exclude<Report, { type: "listening" }>): void {
    const { recorder } = this.#options;
    switch (report.type) {
      case "ask": {
        const version = (this.#versions.get(report.key) ?? 0) + (report.change ? 1 : 0);
        this.#versions.set(report.key, version);
        if (life.child.connected) {
          life.child.send({ type: "version", question: report.question, version } satisfies Order, () => undefined);
        }
        break;
      }
      case "fenced": {
        const { question, key, fence, action } = report;
        const known = this.#fenced.get(key) ?? { fence: 0, value: 0 };
        const accepted = fence >= known.fence;
        const value = action === "write" ? report.value : known.value;
        if (accepted) this.#fenced.set(key, { fence, value });
        recorder.note({
          type: "fenced",
          process: index,
          life: life.number,
          at: monotonicMs(),
          key,
          fence,
          action,
          value,
          accepted,
        });
        const version = accepted ? value : -1;
        if (life.child.connected)
          life.child.send({ type: "version", question, version } satisfies Order, () => undefined);
        break;
      }
      case "measured":
        this.#measuring.get(index)?.(report);
        break;
      case "complaint":
        recorder.note({ type: "complaint", process: index, at: monotonicMs(), text: report.text });
        break;
      case "busy": {
        const { start, end } = report;
        recorder.note({ ...busy, start, end, processes: [index] });
        break;
      }
      case "work":
      case "hold":
      case "degradation":
      case "reach":
        recorder.note({ ...report, process: index, life: life.number });
    }
  }

  #noteEnd(index: number, life: Life, code: number | null): void {
    life.ready = false;
    const at = life.ended?.at ?? monotonicMs();
    const how = life.ended?.how ?? "crashed";
    this.#measuring.get(index)?.({ heapBytes: 0, openConnections: 0 });
    this.#options.recorder.note({
      type: "end",
      process: index,
      life: life.number,
      at,
      how,
      code,
      ms: monotonicMs() - at,
    });
  }

  async #end(index: number, how: "killed" | "asked"): Promise<void> {
    const life = this.#lives[index];
    if (life === undefined) return;
    life.ready = false;
    life.ended ??= { at: monotonicMs(), how };
    life.child.kill("SIGCONT");
    life.child.kill(how === "killed" ? "SIGKILL" : "SIGTERM");
    const patience = setTimeout(() => life.child.kill("SIGKILL"), 2 * exitMs);
    await life.gone;
    clearTimeout(patience);
  }
}
