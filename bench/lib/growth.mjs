import { randomBytes } from "node:crypto";
import { algorithm, audience, encode, gateOptions, issuer, signToken } from "./settings.mjs";
import { FakeExchange, createBareGate, expectAllowed, expectDenied } from "./checks.mjs";

const concurrency = 64;
const steps = 4;
/** Forged tokens take the longest, and a slow host must not make a run of minutes one of hours. */
const longestMs = 75_000;

/**
 * The heap of a gate that meets ever new callers. Bounded tables make it level off; what it keeps for each caller for
 * ever would make it grow in proportion.
 */
export async function measureGrowth({ scale }) {
  const known = `Bearer ${signToken({ jti: "known", subject: "alice" })}`;
  return [
    await grow("addresses", 1_000_000 * scale, async (gate) => {
      const guard = gate.guard();
      return async (index) => expectAllowed(await guard(new FakeExchange(addressOf(index), known)));
    }),
    await grow("forged tokens, none twice", 1_000_000 * scale, async (gate) => {
      const guard = gate.guard();
      return async (index) => expectDenied(await guard(new FakeExchange("192.0.2.7", `Bearer ${forge(index)}`)));
    }),
    await grow("tokens of as many users", 100_000 * scale, async (gate) => {
      const guard = gate.guard();
      return async (index) => {
        const token = signToken({ jti: `new-${index}`, subject: `new-${index}` });
        expectAllowed(await guard(new FakeExchange("192.0.2.7", `Bearer ${token}`)));
      };
    }),
  ];
}

async function grow(name, count, prepare) {
  const gate = createBareGate(gateOptions("memory"));
  const call = await prepare(gate);
  const first = await runAll(call, 0, 1000, longestMs);
  const before = heapMegabytes();
  const sizes = [];
  let next = first;
  let ms = 0;
  for (let step = 1; step <= steps; step += 1) {
    const start = performance.now();
    next = await runAll(call, next, first + (step * count) / steps, longestMs / steps);
    ms += performance.now() - start;
    sizes.push({ met: next - first, megabytes: heapMegabytes() - before });
  }
  await gate.close();
  return { name, sizes, perSecond: ((next - first) / ms) * 1000 };
}

/** Many at once, as a server would have them. Returns how far it came. */
async function runAll(call, from, to, patienceMs) {
  const until = performance.now() + patienceMs;
  let next = from;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (next < to && performance.now() < until) await call(next++);
    }),
  );
  return next;
}

function heapMegabytes() {
  // The second collection takes what finalizers of the first let go.
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

function addressOf(index) {
  return `10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`;
}

const header = encode({ alg: algorithm, typ: "JWT" });

/** Right in everything but the signature, which is as long as a right one. */
function forge(index) {
  const iat = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer, aud: audience, sub: "mallory", jti: `forged-${index}`, iat, exp: iat + 3600 };
  return `${header}.${encode(claims)}.${randomBytes(32).toString("base64url")}`;
}
