// npm start [-- name]: builds and serves an example application. Default: express-api.
import { runNode } from "./child.mjs";
import { buildExample, entryOf, listExamples } from "./example.mjs";
import { ensureInstalled } from "./install.mjs";

const [name = "express-api", ...words] = process.argv.slice(2);

if (!listExamples().includes(name)) {
  console.error(`There is no example "${name}". Examples: ${listExamples().join(", ")}`);
  process.exit(1);
}
ensureInstalled();
process.exitCode = (await buildExample(name)) || (await runNode([entryOf(name), ...words]));
