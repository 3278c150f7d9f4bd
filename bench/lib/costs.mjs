import { generateKeyPair, jwtVerify, SignJWT } from "jose";
import { MemoryStore } from "express-rate-limit";
import { FakeExchange, createBareGate, expectAllowed } from "./checks.mjs";
import { createRejections } from "./rejections.mjs";
import { algorithm, audience, gateOptions, issuer, secret, signToken, signTokens } from "./settings.mjs";

/**
 * CPU microseconds a call of each operation, the first being the one to compare with. All in turn in every round, the
 * order reversed every other round.
 *
 * @returns {Promise<{ name: string, samples: number[] }[]>}
 */
export async function measureCosts(how) {
  return measureAll(await createOperations(), how);
}

/**
 * @param {readonly { name: string, run?: (call: number) => unknown, runLater?: (call: number) => Promise<unknown> }[]} operations
 */
export async function measureAll(operations, { rounds, sampleMs }) {
  const counts = [];
  for (const operation of operations) counts.push(await calibrate(operation, sampleMs));
  const rows = operations.map(({ name }) => ({ name, samples: [] }));
  for (let round = 0; round < rounds; round += 1) {
    const order = operations.map((_, index) => index);
    if (round % 2 === 1) order.reverse();
    for (const index of order) rows[index].samples[round] = await sample(operations[index], counts[index]);
  }
  return rows;
}

/** How many calls fill a sample; warms the operation up. */
async function calibrate(operation, sampleMs) {
  await sample(operation, 2000);
  const us = await sample(operation, 2000);
  return Math.max(100, Math.round((sampleMs * 1000) / us));
}

/** CPU and not time: the host takes the core away, and jose hands its work to other threads. */
async function sample({ run, runLater }, count) {
  const before = process.cpuUsage();
  if (runLater === undefined) for (let call = 0; call < count; call += 1) run(call);
  else for (let call = 0; call < count; call += 1) await runLater(call);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
}

async function createOperations() {
  const token = signToken({ jti: "micro", subject: "alice" });
  const bearer = `Bearer ${token}`;
  const bearers = signTokens().map((one) => `Bearer ${one}`);
  const address = "192.0.2.7";
  const gate = createBareGate(gateOptions("memory"));
  const [byAddress] = gateOptions("memory").limits;
  const guard = gate.guard();
  const authenticate = gate.authenticate();
  const limit = gate.limit(byAddress);
  for (const one of [bearer, ...bearers]) expectAllowed(await guard(new FakeExchange(address, one)));

  const store = new MemoryStore();
  store.init({ windowMs: 60_000 });
  // Imported once, as jose is fastest: a KeyObject or bytes it imports again for each token.
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", Buffer.from(secret), hmac, false, ["verify"]);
  const hs256 = { algorithms: [algorithm], issuer, audience };
  const { privateKey, publicKey } = await generateKeyPair("RS256");
  const rsaToken = await new SignJWT({}).setProtectedHeader({ alg: "RS256" }).setExpirationTime("1h").sign(privateKey);
  const rs256 = { algorithms: ["RS256"] };

  return [
    { name: "jose jwtVerify, HS256", runLater: () => jwtVerify(token, key, hs256) },
    { name: "jose jwtVerify, RS256", runLater: () => jwtVerify(rsaToken, publicKey, rs256) },
    {
      name: "guard(): known token, revocation, two limits",
      run: () => expectAllowed(guard(new FakeExchange(address, bearer))),
    },
    {
      name: "guard(): 1000 known tokens in turn",
      run: (call) => expectAllowed(guard(new FakeExchange(address, bearers[call % bearers.length]))),
    },
    {
      name: "authenticate(): known token, revocation",
      run: () => expectAllowed(authenticate(new FakeExchange(address, bearer))),
    },
    {
      name: "limit(): one policy by address",
      run: () => expectAllowed(limit(new FakeExchange(address, undefined))),
    },
    { name: "express-rate-limit's MemoryStore: the counter alone", runLater: () => store.increment(address) },
    {
      name: "an empty exchange, part of each of ours",
      run: () => new FakeExchange(address, bearer).state,
    },
    ...(await createRejections()),
  ];
}
