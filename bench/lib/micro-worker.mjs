// Runs in a process of its own, with --expose-gc, on the core of the servers.
import { measureCosts } from "./costs.mjs";
import { measureGrowth } from "./growth.mjs";
import { measureAlgorithms } from "./limit-costs.mjs";
import { measureClients } from "./limit-growth.mjs";

const suites = {
  costs: measureCosts,
  growth: measureGrowth,
  algorithms: measureAlgorithms,
  clients: measureClients,
};

process.on("disconnect", () => process.exit(0));
process.on("message", async (message) => {
  if (message === "end") process.exit(0);
  process.send({ rows: await suites[message.suite](message) });
});
