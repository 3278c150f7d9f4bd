import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { RedisServer } from "@portcullis/testkit";
import type { Fleet } from "../fleet.js";
import { monotonicMs } from "../history.js";
import type { Facts, Operation, Recorder } from "../history.js";
import { dice } from "../random.js";
import type { Dice } from "../random.js";

/** What all clients share. */
export interface World {
  readonly seed: number;
  readonly fleet: Fleet;
  readonly recorder: Recorder;
  /** Replicas that a revocation waits for. */
  readonly replicas: number;
  /** The servers of Redis that take writes now. */
  readonly masters: () => Promise<readonly RedisServer[]>;
  /** Tells one part of a run from the next: keys of limits are not used again. */
  readonly part: string;
}

/** One request. */
export interface Ask {
  readonly name: string;
  readonly method?: "GET" | "POST";
  readonly path: string;
  /** The process to ask, or the next that is up. */
  readonly process: number;
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** Leave after so many milliseconds, answered or not. */
  readonly leaveAfterMs?: number | undefined;
  /** What the history says of it. */
  readonly args?: Facts;
  /** What the history says of the answer: never a token. @default all members that are plain */
  readonly note?: (body: Readonly<Record<string, unknown>>) => Facts;
}

export interface Answered {
  readonly operation: Operation;
  readonly body: Readonly<Record<string, unknown>>;
}

/** Longer than any answer may take. */
const patienceMs = 30_000;
// A connection for each request: an idle one may be closed by the server in the moment in which it is used.
const agent = new Agent({ keepAlive: false });
let operations = 0;

export function nextOperation(): number {
  operations += 1;
  return operations;
}

/** Sends a request, and notes it with its answer. */
export async function ask(world: World, client: string, asked: Ask): Promise<Answered> {
  const { name, method = "GET", path, token, headers = {}, leaveAfterMs, args = {}, note = plain } = asked;
  const id = nextOperation();
  let target = world.fleet.findFrom(asked.process);
  while (target === undefined) {
    await sleep(100);
    target = world.fleet.findFrom(asked.process);
  }
  const { process, life, url } = target;
  const start = monotonicMs();
  const { status, body, left } = await exchange(`${url}${path}`, method, leaveAfterMs, {
    // A response may depend on it, and each process has a port of its own.
    host: "api.test",
    "x-operation": String(id),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...Object.fromEntries(Object.entries(headers).map(([key, value]) => [key, String(value)])),
  });
  const end = monotonicMs();
  const operation: Operation = {
    ...{ type: "operation", id, client, name, process, life, start, end, status, left, args },
    answer: note(body),
  };
  world.recorder.note(operation);
  return { operation, body };
}

interface Exchanged {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly left: boolean;
}

function exchange(
  url: string,
  method: string,
  leaveAfterMs: number | undefined,
  headers: Record<string, string>,
): Promise<Exchanged> {
  return new Promise((resolve) => {
    let left = false;
    const outgoing = request(url, { method, headers, agent }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", () => settle(0, {}));
      incoming.on("end", () => {
        const { statusCode = 0, headers: fields } = incoming;
        const text = Buffer.concat(chunks).toString();
        const bug = statusCode === 500 ? { bug: text.slice(0, 1000) } : {};
        settle(statusCode, { ...parse(text), ...interesting(fields), ...bug });
      });
    });
    const timer = setTimeout(() => {
      left = leaveAfterMs !== undefined;
      outgoing.destroy();
    }, leaveAfterMs ?? patienceMs);
    function settle(status: number, body: Record<string, unknown>): void {
      clearTimeout(timer);
      resolve({ status, body, left });
    }
    outgoing.on("error", () => settle(0, {}));
    outgoing.on("close", () => settle(0, {}));
    outgoing.end();
  });
}

function parse(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** Fields that say what the gate thought. */
function interesting(fields: Readonly<Record<string, string | string[] | undefined>>): Record<string, unknown> {
  const names = { policy: fields["ratelimit-policy"], cacheStatus: fields["cache-status"] };
  return Object.fromEntries(Object.entries(names).filter(([, value]) => value !== undefined));
}

const secret = /token/i;

function plain(body: Readonly<Record<string, unknown>>): Facts {
  const entries = Object.entries(body).filter(
    ([name, value]) => !secret.test(name) && (typeof value !== "object" || value === null),
  );
  return Object.fromEntries(entries) as Facts;
}

/** A client: what it does at each step, until it is told to leave. It finishes the step that it is at. */
export interface Client {
  readonly name: string;
  /** Milliseconds between steps, by and large. */
  readonly pauseMs: number;
  step(own: Dice): Promise<void>;
}

export async function live(world: World, client: Client, signal: AbortSignal): Promise<void> {
  for (let step = 1; ; step += 1) {
    const own = dice(world.seed, `${world.part} ${client.name} step ${step}`);
    await sleep(own.between(0, 2 * client.pauseMs), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    await client.step(own);
  }
}

/** An address of a client, as a proxy in front would tell it. */
export function addressOf(number: number): string {
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`;
}
