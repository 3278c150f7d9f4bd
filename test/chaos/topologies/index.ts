import { startAsCluster } from "./cluster.js";
import { startUnderSentinel } from "./sentinel.js";
import { startStandalone } from "./standalone.js";
import type { Topology, TopologyName } from "./topology.js";

export const topologies: Readonly<Record<TopologyName, () => Promise<Topology>>> = {
  standalone: startStandalone,
  sentinel: startUnderSentinel,
  cluster: startAsCluster,
};
