// npm run test:chaos [-- --seed=N --minutes=N --topology=standalone|sentinel|cluster]; see docs/chaos.md.
import { runNode } from "./child.mjs";
import { ensureInstalled } from "./install.mjs";

const words = process.argv.slice(2);
const minutes = Number(/--minutes[= ](\S+)/.exec(words.join(" "))?.[1] ?? 5);
// Starts, calm times and what is looked at then take as long again; after that something keeps the run from ending.
const LIMIT_MS = (3 * minutes + 10) * 60_000;
const flags = ["--import=tsx", "--conditions=@portcullis/source"];

ensureInstalled();
process.exitCode = await runNode([...flags, "test/chaos/main.ts", ...words], { limitMs: LIMIT_MS });
