import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { StoreFault } from "../../packages/core/dist/index.js";
import { FakeExchange, createBareGate, expectAllowed, expectDenied } from "./checks.mjs";
import { startRelay } from "./relay.mjs";
import { algorithm, audience, encode, gateOptions, issuer, signToken } from "./settings.mjs";

const concurrency = 64;
const steps = 4;
/** Callers whose tokens are made in advance, so that the cost of a call is the gate's alone. */
const chunk = 1000;
/** Sign-outs before the callers: more than the in-process store takes (100,000), or a process remembers (10,000). */
const signOuts = { memory: 110_000, redis: 15_000 };
/** Stands for what a handler keeps for a user. */
const profile = { name: "somebody", roles: ["reader", "writer"], theme: "dark", seen: "2026-01-01T00:00:00.000Z" };

/**
 * The memory of one process whose gate meets a million callers, each with an address, a user, a valid token and a forged
 * one that nobody had before. Bounded tables make it level off; what is kept for each caller for ever would make it grow in
 * proportion. Every structure is met: counters, verified tokens, digests and charges, revocations, cached values; on a Redis,
 * what the process keeps of it (answers about tokens, leased parts of quotas, cached values); and where that Redis has died,
 * the counters, revocations and lost deletions that the process keeps by itself.
 */
export async function measureGrowth({ on, scale, redis }) {
  // What the code itself takes, once it is compiled, is no growth.
  await gates[on](redis, { callers: 4 * chunk, signOutShare: 0.01 });
  // Until what the gate before had is closed and collected.
  await sleep(1000);
  return gates[on](redis, { callers: 1_000_000 * scale, signOutShare: Math.min(1, scale * 10) });
}

/** What a gate may stand on. Each is measured in a process of its own, or what one leaves to collect would be another's. */
const gates = {
  "in-process store": growInProcess,
  "on a Redis: tracked, leased": growOnRedis,
  "on a Redis that died": growWithoutRedis,
};
export const grounds = Object.keys(gates);

async function growInProcess(_url, { callers, signOutShare }) {
  const before = await readMegabytes();
  const gate = createBareGate(gateOptions("memory"));
  const guard = gate.guard();
  await signOut(gate, signOuts.memory * signOutShare);
  return grow({ gate, before, callers, meet });

  async function meet({ address, forged, valid }) {
    expectDenied(await guard(new FakeExchange(address, forged)), 401);
    const exchange = new FakeExchange(address, valid);
    expectAllowed(await guard(exchange));
    await exchange.state.facts.cache.forUser().set("profile", profile);
  }
}

async function growOnRedis(url, { callers, signOutShare }) {
  const before = await readMegabytes();
  const { limits, ...options } = gateOptions(url);
  const leased = limits.map((limit) => ({ ...limit, precision: "leased" }));
  const keeping = { limits: leased, revocation: { check: "tracked" }, deadline: 5000, logger };
  const gate = createBareGate({ ...options, ...keeping });
  const guard = gate.guard();
  await signOut(gate, signOuts.redis * signOutShare);
  return grow({ gate, before, callers, meet });

  async function meet({ address, forged, valid }) {
    expectDenied(await guard(new FakeExchange(address, forged)), 401);
    const exchange = new FakeExchange(address, valid);
    expectAllowed(await guard(exchange));
    await exchange.state.facts.cache.forUser().set("profile", profile);
  }
}

async function growWithoutRedis(url, { callers, signOutShare }) {
  const relay = await startRelay(url);
  const before = await readMegabytes();
  const allowing = { revocation: { onStoreError: "allow" }, deadline: 1000, logger };
  const gate = createBareGate({ ...gateOptions(relay.url), ...allowing });
  const guard = gate.guard();
  await signOut(gate, signOuts.redis * signOutShare);
  await relay.close();
  return grow({ gate, before, callers, meet });

  async function meet({ address, forged, valid }) {
    expectDenied(await guard(new FakeExchange(address, forged)), 401);
    const exchange = new FakeExchange(address, valid);
    expectAllowed(await guard(exchange));
    const outcome = await exchange.state.facts.cache.forUser().delete("profile").catch(expectFault);
    if (outcome !== "fault") throw new Error("a deletion was done by a Redis that is gone");
  }
}

/** The last ones of the in-process store are refused, aloud: it has no room, and drops none that is in force. */
async function signOut(gate, count) {
  const expiresAt = Math.floor(Date.now() / 1000) + 3600;
  await runAll(count, (index) => gate.revocations.revoke({ jti: `out-${index}`, expiresAt }).catch(expectFault));
  const revoked = `Bearer ${signToken({ jti: "out-1", subject: "alice" })}`;
  expectDenied(await gate.guard()(new FakeExchange("192.0.2.7", revoked)), 401);
}

async function grow({ gate, before, callers, meet }) {
  const sizes = [{ met: 0, megabytes: (await readMegabytes()) - before, us: Number.NaN }];
  let met = 0;
  for (let step = 1; step <= steps; step += 1) {
    const from = met;
    let us = 0;
    while (met < (step * callers) / steps) {
      const some = Array.from({ length: chunk }, (_, index) => createCaller(met + index));
      const start = process.cpuUsage();
      await runAll(chunk, (index) => meet(some[index]));
      const { user, system } = process.cpuUsage(start);
      us += user + system;
      met += chunk;
    }
    sizes.push({ met, megabytes: (await readMegabytes()) - before, us: us / (met - from) });
  }
  await gate.close();
  return { sizes };
}

/** Many at once, as a server would have them. */
export async function runAll(count, call) {
  let next = 0;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < count) await call(next++);
    }),
  );
}

/** The heap and what hangs on it outside, such as the arrays of numbers in the tables. */
export async function readMegabytes() {
  // A later collection takes what finalizers of the one before let go.
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

const logger = { debug: () => undefined, warn: () => undefined };

const header = encode({ alg: algorithm, typ: "JWT" });

function createCaller(index) {
  return {
    address: `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`,
    forged: `Bearer ${forge(index)}`,
    valid: `Bearer ${signToken({ jti: `token-${index}`, subject: `user-${index}` })}`,
  };
}

/** Right in everything but the signature, which is as long as a right one. */
function forge(index) {
  const iat = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, aud: audience, sub: "mallory", jti: `forged-${index}`, iat, exp: iat + 3600 };
  return `${header}.${encode(claims)}.${randomBytes(32).toString("base64url")}`;
}

function expectFault(error) {
  if (!(error instanceof StoreFault)) throw error;
  return "fault";
}
