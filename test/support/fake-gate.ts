import { RequestState, createGate } from "../../packages/core/src/adapter.js";
import type { Auth, Denied, Gate, PortcullisOptions } from "../../packages/core/src/index.js";
import type { Decision, GateExchange } from "../../packages/core/src/adapter.js";
import { cleanUpInTest } from "./clean-up.js";
import { silentLogger } from "./logger.js";

/** What the smallest possible adapter makes of a check: the check itself. */
export interface FakeMiddleware {
  readonly check: (exchange: GateExchange<undefined>) => Decision | Promise<Decision>;
}

export type FakeGate = Gate<undefined, FakeMiddleware>;
export type FakeOptions = PortcullisOptions<undefined>;

/** A gate on in-process stores, without a web framework; closed after the test, if it was opened in one. */
export function openGate(options: FakeOptions): FakeGate {
  const own = { redis: "memory", logger: silentLogger, ...options } as const;
  const gate = createGate<undefined, FakeMiddleware>(own, (check) => ({
    // Middleware of these tests admits or refuses; what replies is tested over HTTP.
    check: check as FakeMiddleware["check"],
  }));
  cleanUpInTest(() => gate.close());
  return gate;
}

export interface FakeRequest {
  readonly method?: string;
  readonly url?: string;
  readonly ip?: string;
  /** By lower-case name. */
  readonly headers?: Readonly<Record<string, string>>;
  /** As {@link GateExchange.rawHeaders}. */
  readonly rawHeaders?: readonly string[];
}

export function fakeExchange({
  method = "GET",
  url = "/",
  ip = "192.0.2.1",
  headers = {},
  rawHeaders,
}: FakeRequest = {}): GateExchange<undefined> {
  const byName = new Map(Object.entries(headers));
  return {
    raw: undefined,
    method,
    url,
    ip,
    trustsEveryProxy: false,
    state: new RequestState(),
    signal: new AbortController().signal,
    onClose: () => undefined,
    onHandled: () => undefined,
    intercept: () => undefined,
    rawHeaders,
    hasBody: false,
    headerNames: [...byName.keys()],
    header: (name) => byName.get(name),
    readBody: () => Promise.resolve({ kind: "bytes", bytes: Buffer.alloc(0) }),
  };
}

export interface Outcome {
  readonly verdict: Decision;
  readonly auth: Auth | undefined;
}

/** Sends one request with a bearer token through the gate's guard. */
export async function present(gate: FakeGate, token: string): Promise<Outcome> {
  const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
  const verdict = await gate.guard().check(exchange);
  return { verdict, auth: exchange.state.facts.auth };
}

/** The facts of a token that must be accepted. */
export async function admit(gate: FakeGate, token: string): Promise<Auth> {
  const { verdict, auth } = await present(gate, token);
  if (!verdict.allowed) throw new Error(`refused: ${verdict.cause}`);
  if (auth === undefined) throw new Error("passed without facts");
  return auth;
}

/** The denial of a token that must be refused. */
export async function refuse(gate: FakeGate, token: string): Promise<Denied> {
  const { verdict, auth } = await present(gate, token);
  if (verdict.allowed) throw new Error("accepted");
  if (auth !== undefined) throw new Error("refused, but the facts remain");
  return verdict;
}
