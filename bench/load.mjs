// The load generator: a process of its own, told over IPC which port to load and for how long.
import net from "node:net";
import autocannon from "autocannon";
import { quantile } from "./lib/statistics.mjs";

const connections = 64;

/** @type {object[][]} The requests of each connection. Together they hold every token once. */
let shares = [];

giveEachConnectionAnAddress();

process.on("disconnect", () => process.exit(0));
process.on("message", (message) => {
  if (message === "end") process.exit(0);
  else if (message.tokens !== undefined) shares = share(message.tokens);
  else run(message).then(report, (error) => report({ error: error.message }));
});

function report(result) {
  process.send({ result });
}

function share(tokens) {
  const dealt = Array.from({ length: connections }, () => []);
  tokens.forEach((token, index) => {
    // "" is a request without a token.
    dealt[index % connections].push(token === "" ? {} : { headers: { authorization: `Bearer ${token}` } });
  });
  return dealt;
}

/** All of 127.0.0.0/8 is this machine on Linux, so that limits by address count 64 clients and not one. */
function giveEachConnectionAnAddress() {
  if (process.platform !== "linux") return;
  const { connect } = net;
  let next = 0;
  net.connect = (port, host) => {
    next = (next + 1) % connections;
    return connect({ port, host, localAddress: `127.0.1.${1 + next}` });
  };
}

async function run({ port, seconds }) {
  const latencies = [];
  let refused = 0;
  let client = 0;
  let start = 0;
  const cpu = process.cpuUsage();
  const load = autocannon({
    url: `http://127.0.0.1:${port}`,
    connections,
    duration: seconds,
    // It stops at the end of a sample, and a sample is a second by default.
    sampleInt: 50,
    setupClient(one) {
      one.requestIterator.setRequests(shares[client].map((request) => ({ ...request })));
      client += 1;
    },
  });
  load.on("start", () => {
    start = performance.now();
  });
  // Its own histogram has whole milliseconds only.
  load.on("response", (_client, status, _bytes, ms) => {
    latencies.push(ms);
    if (status !== 200) refused += 1;
  });
  const { errors, timeouts } = await load;
  const elapsed = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  return {
    served: latencies.length - refused,
    failed: refused + errors + timeouts,
    seconds: elapsed,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    busy: (user + system) / 1e6 / elapsed,
  };
}
