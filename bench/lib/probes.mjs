// A second client, beside the load: does the server still refuse what it must refuse?
import { randomBytes } from "node:crypto";
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { neverReached, signToken } from "./settings.mjs";

/** A process that holds answers about revocation learns of a new record within this time; the others ask. */
const stalenessMs = 2500;
/** A process may hold a part of the quota, which is used up before Redis is asked again. */
const mostInLease = 500;
const [mostOutages, outageMs] = [20, 100];

/**
 * @param {import("ioredis").Redis} redis
 * @returns what refused: `prepare` once before the rounds, `probe` in each slice, and the number of refusals so far.
 */
export function openProbes(redis) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  /** Other users than in any earlier run on this Redis. */
  const run = randomBytes(4).toString("hex");
  let count = 0;
  const refused = { revoked: 0, limited: 0 };
  const overLimit = new Map();

  /** On a busy machine Redis may wait for a core for longer than a gate waits for Redis; 503 says nothing then. */
  async function get(port, token) {
    for (let tries = 0; ; tries += 1) {
      const status = await send(port, token);
      if (status !== 503 || tries === mostOutages) return status;
      await sleep(outageMs);
    }
  }

  function send(port, token) {
    const headers = { authorization: `Bearer ${token}` };
    return new Promise((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port, agent, headers }, (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode));
      });
      sent.on("error", reject);
      sent.end();
    });
  }

  async function expectStatus(wanted, stand, token, what) {
    const status = await get(stand.port, token);
    if (status !== wanted) throw new Error(`${stand.target.name}: ${what} got ${status} instead of ${wanted}`);
  }

  /** Uses up the quota of a user in Redis, and what a process holds of it. */
  async function prepare(stand) {
    const { name, probed } = stand.target;
    if (probed !== "both") return;
    const subject = `over-${run}-${name}`;
    const token = signToken({ jti: subject, subject });
    await expectStatus(200, stand, token, "a request below the limit");
    const keys = await findCounters(redis, subject);
    if (keys.length !== 1) throw new Error(`${name}: ${keys.length} counters of a user instead of one`);
    await redis.incrby(keys[0], neverReached);
    let tries = 0;
    while ((await get(stand.port, token)) === 200) {
      tries += 1;
      if (tries > mostInLease) throw new Error(`${name}: a request over the limit was not refused`);
    }
    overLimit.set(name, token);
  }

  /** Revokes a token that has just been accepted, and asks for more than the limit. */
  async function probe(stand) {
    const { name, probed, mode } = stand.target;
    if (probed === undefined) return;
    if (probed === "both") {
      await expectStatus(429, stand, overLimit.get(name), "a request over the limit");
      refused.limited += 1;
    }
    count += 1;
    const jti = `revoked-${run}-${count}`;
    const token = signToken({ jti, subject: `revoked-${count % 100}` });
    await expectStatus(200, stand, token, "a token that is not revoked");
    await redis.set(`auth:revoked:${jti}`, "revoked", "EX", 3600);
    if (mode === "leased") {
      await redis.publish("floor:revoked", jti);
      const lateAt = performance.now() + stalenessMs;
      while (performance.now() < lateAt && (await get(stand.port, token)) === 200) await sleep(20);
    }
    await expectStatus(401, stand, token, "a revoked token");
    refused.revoked += 1;
  }

  return { prepare, probe, refused, close: () => agent.destroy() };
}

async function findCounters(redis, subject) {
  const keys = await redis.keys(`*${subject}*`);
  const types = await Promise.all(keys.map((key) => redis.type(key)));
  const texts = keys.filter((_, index) => types[index] === "string");
  const values = await Promise.all(texts.map((key) => redis.get(key)));
  return texts.filter((_, index) => /^\d+$/.test(values[index]));
}
