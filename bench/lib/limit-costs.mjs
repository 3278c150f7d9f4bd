import { MemoryStore } from "express-rate-limit";
import { RateLimiterMemory } from "rate-limiter-flexible";
import { EndingExchange, FakeExchange, createBareGate, expectAllowed } from "./checks.mjs";
import { measureAll } from "./costs.mjs";
import { neverReached } from "./settings.mjs";

/** Addresses in turn, few enough that everybody's are known after the warm-up. */
const addresses = Array.from({ length: 1000 }, (_, index) => `192.0.${index >> 8}.${index & 255}`);

/** CPU of one decision in process: each algorithm of the gate, and what others take for a fixed window. */
export async function measureAlgorithms(how) {
  return measureAll(createOperations(), how);
}

function createOperations() {
  const gate = createBareGate({ redis: "memory" });
  const flexible = new RateLimiterMemory({ points: neverReached, duration: 60 });
  const store = new MemoryStore();
  store.init({ windowMs: 60_000 });
  const address = (call) => addresses[call % addresses.length];

  function algorithm(name, more = {}) {
    // Token buckets hold no more than 2^53 parts of a request.
    const check = gate.limit({ name, per: "ip", limit: 100_000_000, window: "1m", ...more });
    return (call) => expectAllowed(check(new FakeExchange(address(call), undefined)));
  }

  const concurrency = gate.limit({ name: "concurrency", per: "ip", limit: 1000, algorithm: "concurrency" });
  return [
    { name: "rate-limiter-flexible: RateLimiterMemory.consume()", runLater: (call) => flexible.consume(address(call)) },
    { name: "express-rate-limit: MemoryStore.increment()", runLater: (call) => store.increment(address(call)) },
    { name: "gate.limit(): fixed window", run: algorithm("fixed") },
    { name: "gate.limit(): sliding window", run: algorithm("sliding", { algorithm: "sliding-window" }) },
    { name: "gate.limit(): token bucket", run: algorithm("bucket", { algorithm: "token-bucket" }) },
    {
      name: "gate.limit(): concurrency, and the end of the response",
      run(call) {
        const exchange = new EndingExchange(address(call), undefined);
        expectAllowed(concurrency(exchange));
        exchange.end(200);
      },
    },
    {
      name: "an empty exchange, part of each of ours",
      run: (call) => new FakeExchange(address(call), undefined).state,
    },
  ];
}
