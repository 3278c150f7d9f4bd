import { callSite } from "./lib/call-site.js";
import { operations } from "./lib/documentation.js";
import type { PartitionPart, Policy } from "./limits/policy.js";
import { notePlace } from "./limits/repeated-names.js";
import type { ResolvedOptions } from "./options.js";
import type { ResolvedRedis } from "./store/redis/options.js";
import type { Logger } from "./telemetry/logger.js";
import type { RequestCounts } from "./telemetry/request-counts.js";

/** A gate among the open gates of this process, for mistakes that only several gates together show. */
export interface OpenGate<Raw> {
  /** Compares policies with those of the same name, at this gate and at others on the same Redis. */
  notePolicies(policies: readonly Policy<Raw>[]): void;
  /** The gate closes. */
  leave(): void;
}

/** The parts of a policy that its counters depend on. Functions are compared by their source. */
type Shape = Readonly<Record<"algorithm" | "window" | "per", string>>;

/** The open gates on one Redis, and their policies by name. */
interface Place {
  gates: number;
  readonly policies: Map<string, Map<object, Shape>>;
}

/** Places in the code that a warning has named. */
const warnedSites = new Set<string>();

const places = new Map<string, Place>();
const clientIds = new WeakMap<object, number>();
/** The gates with equal options that were made at one place in the code. */
interface Site {
  /** The requests of the open ones. */
  readonly gates: Set<RequestCounts>;
  /** The number of gates that were made while a request was handled. */
  inRequests: number;
}

const sites = new Map<string, Site>();
const maxSites = 1000;
/** So many gates of one place in the code that have had a single request are each made for a request. */
const manyGates = 10;
let clients = 0;

/** Adds a gate to the open gates. Warns once for each place in the code if a handler of requests made it. */
export function addOpenGate<Raw>(options: ResolvedOptions<Raw>, requests: RequestCounts): OpenGate<Raw> {
  const { redis, prefix, logger } = options;
  const gate = {};
  const leaveSite = noteSite(logger, requests, describeGate(options));
  const text = redis === undefined ? undefined : `${prefix} ${placeOf(redis.security)}`;
  const place: Place = (text === undefined ? undefined : places.get(text)) ?? { gates: 0, policies: new Map() };
  const { policies: named } = place;
  place.gates += 1;
  if (text !== undefined) places.set(text, place);
  const warned = new Set<string>();

  function compare(name: string, shape: Shape): void {
    for (const other of named.get(name)?.values() ?? []) {
      const differences = (["algorithm", "window", "per"] as const).filter((part) => shape[part] !== other[part]);
      if (differences.length === 0 || warned.has(name)) continue;
      warned.add(name);
      logger.warn(
        { code: "policy_name_taken", policy: name, differences },
        `portcullis: two limits are named "${name}" and differ in ${differences.join(" and ")}: they share keys and the name in responses; give each a name of its own (see ${operations}#policy_name_taken)`,
      );
    }
  }

  return {
    notePolicies(policies) {
      notePlace(policies, place);
      for (const policy of policies) {
        const shape = shapeOf(policy);
        compare(policy.name, shape);
        const gates = named.get(policy.name) ?? new Map<object, Shape>();
        named.set(policy.name, gates.set(gate, shape));
      }
    },
    leave() {
      leaveSite();
      place.gates -= 1;
      if (text !== undefined && place.gates === 0) places.delete(text);
      for (const [name, gates] of named) if (gates.delete(gate) && gates.size === 0) named.delete(name);
    },
  };
}

function shapeOf<Raw>({ algorithm, windowSeconds, per }: Policy<Raw>): Shape {
  return { algorithm, window: String(windowSeconds), per: JSON.stringify(per.map(describePart)) };
}

function describePart<Raw>(part: PartitionPart<Raw>): unknown {
  return typeof part === "function" ? { function: String(part) } : part;
}

/** The text that stands for a Redis: its address, or its client. */
function placeOf(target: ResolvedRedis["security"]): string {
  if ("topology" in target) {
    const { topology, addresses, path, masterName, db } = target;
    return JSON.stringify([topology, addresses, path, masterName, db]);
  }
  const known = clientIds.get(target);
  if (known !== undefined) return `client ${known}`;
  clients += 1;
  clientIds.set(target, clients);
  return `client ${clients}`;
}

/** The text that tells the gates of tenants apart: each has users, keys or a Redis of its own. */
function describeGate<Raw>({ redis, prefix, service, auth, limits }: ResolvedOptions<Raw>): string {
  const issuers = auth?.issuers.map(({ issuer, audience }) => [issuer, audience]);
  const place = redis === undefined ? "memory" : placeOf(redis.security);
  return JSON.stringify([prefix, service.keyText, place, issuers, limits.map(({ name }) => name)]);
}

/**
 * Notes where in the code a gate is made. Returns a function for its end. Behind an `await` the stack does not show the server:
 * then gates that are made for one request each show it, since a gate that an application makes when it starts has had none so
 * far, and later has many. One gate that is made by the first request is no mistake, nor are gates for tenants. Tests make gates
 * for a request each, and need not close those in process.
 */
function noteSite(logger: Logger, requests: RequestCounts, description: string): () => void {
  const stack = wholeStack();
  const at = callSite(stack) ?? "";
  const key = `${at} ${description}`;
  const site = sites.get(key) ?? { gates: new Set<RequestCounts>(), inRequests: 0 };
  if (sites.size < maxSites) sites.set(key, site);
  if (isOfRequest(stack)) {
    site.inRequests += 1;
    if (site.inRequests === 2) warnOfHandler(logger, at, "gates were made while requests were handled");
  }
  if (at !== "" && !warnedSites.has(at) && !isTestRun()) {
    const used = [...site.gates].filter(({ total }) => total === 1).length;
    if (used >= manyGates) warnOfHandler(logger, at, `${used} open gates of one place had one request each`);
  }
  site.gates.add(requests);
  return () => {
    site.gates.delete(requests);
    // A gate of a handler that closes it is one for each request too.
    if (site.gates.size === 0 && site.inRequests === 0) sites.delete(key);
  };
}

function warnOfHandler(logger: Logger, at: string, fact: string): void {
  if (warnedSites.has(at) || warnedSites.size >= maxSites) return;
  warnedSites.add(at);
  logger.warn(
    { code: "gate_in_handler", at },
    `portcullis: ${fact}: make one gate when the application starts, since each opens connections and counts for itself (see ${operations}#gate_in_handler)`,
  );
}

/** Does a test runner run this process, as far as it says so? */
function isTestRun(): boolean {
  const { NODE_ENV, NODE_TEST_CONTEXT, JEST_WORKER_ID, VITEST } = process.env;
  return NODE_ENV === "test" || [NODE_TEST_CONTEXT, JEST_WORKER_ID, VITEST].some((value) => value !== undefined);
}

/** A handler is below the routers of its framework, which are many lines. */
function wholeStack(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 200;
  const { stack = "" } = new Error();
  Error.stackTraceLimit = stackTraceLimit;
  return stack;
}

/** Does the server of Node call this code for a request? A module that is loaded then is loaded once. */
function isOfRequest(stack: string): boolean {
  return /node:(_http_server|internal\/http2)/.test(stack) && !stack.includes("node:internal/modules");
}
