// The Node that runs the servers: this one, or one of another version as npm's package "node".
import { fetchNode } from "../../tools/other-node.mjs";

/** @param {string | undefined} wanted such as "24" */
export async function findNode(wanted) {
  if (wanted === undefined) return { path: process.execPath, version: process.versions.node };
  const { path, version } = await fetchNode(wanted);
  return { path, version: version.replace(/^v/, "") };
}
