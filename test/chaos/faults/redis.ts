import { applications } from "../settings.js";
import type { Topology, Way } from "../topologies/topology.js";
import { withClient } from "../topologies/topology.js";
import type { Dice } from "../random.js";
import type { Begun, FaultKind } from "./fault.js";

const everyone: readonly number[] = applications.map((_, index) => index);
const nothing = (): Promise<void> => Promise.resolve();

/**
 * Texts in commands whose replies are lost: of sessions, leases of the cache, its generations, limits, revocations, logins and
 * one-time values.
 */
const commands = [":sessions:", ":making:", ":generation:", ":quota", "auth:revoked:", ":login", ":one-time:"];

/** Faults of servers and of the ways to them. */
export function redisFaults(topology: Topology): FaultKind[] {
  const { ways, promote, migrate } = topology;

  /** Some ways: one, or all of them. */
  function choose(dice: Dice): readonly Way[] {
    return dice.chance(0.5) ? ways : [dice.pick(ways)];
  }

  function along(chosen: readonly Way[], holdMs: number, undo: (way: Way) => void): Begun {
    const processes = [...new Set(chosen.flatMap((way) => way.processes))];
    return {
      what: "redis",
      processes,
      holdMs,
      promotes: "unsafe",
      undo() {
        chosen.forEach(undo);
        return Promise.resolve();
      },
    };
  }

  const networks: FaultKind[] = [
    {
      name: "connections are reset",
      begin(dice) {
        const chosen = choose(dice);
        for (const { proxy } of chosen) proxy.reset();
        return Promise.resolve(along(chosen, 0, () => undefined));
      },
    },
    {
      name: "nothing passes, and connections stay open",
      begin(dice) {
        const chosen = choose(dice);
        for (const { proxy } of chosen) proxy.freeze();
        return Promise.resolve(along(chosen, dice.between(300, 4000), ({ proxy }) => proxy.thaw()));
      },
    },
    {
      name: "connections are refused",
      weight: 2,
      begin(dice) {
        const chosen = choose(dice);
        for (const { proxy } of chosen) {
          proxy.mode = "refuse";
          proxy.reset();
        }
        return Promise.resolve(along(chosen, dice.between(300, 3000), ({ proxy }) => (proxy.mode = "pass")));
      },
    },
    {
      name: "commands run, and replies are lost",
      begin(dice) {
        const chosen = choose(dice);
        for (const { proxy } of chosen) proxy.mode = "drop-replies";
        const undo = ({ proxy }: Way): void => {
          proxy.mode = "pass";
        };
        return Promise.resolve(along(chosen, dice.between(300, 2000), undo));
      },
    },
    {
      name: "replies are late",
      begin(dice) {
        const chosen = choose(dice);
        const delayMs = dice.between(20, 400);
        for (const { proxy } of chosen) proxy.delayMs = delayMs;
        return Promise.resolve(along(chosen, dice.between(500, 3000), ({ proxy }) => (proxy.delayMs = 0)));
      },
    },
    ...commands.map((command): FaultKind => ({
      name: `replies to ${command} are lost`,
      begin(dice) {
        const chosen = choose(dice);
        const arm = (): void => chosen.forEach(({ proxy }) => proxy.cutAfter(command));
        arm();
        // One reply, or each of some seconds.
        const holdMs = dice.pick([0, 1000, 3000]);
        const again = setInterval(arm, 20);
        if (holdMs === 0) clearInterval(again);
        return Promise.resolve(
          along(chosen, Math.max(500, holdMs), ({ proxy }) => {
            clearInterval(again);
            proxy.cutAfter("");
          }),
        );
      },
    })),
  ];

  const servers: FaultKind[] = [
    {
      name: "a server stands still (SIGSTOP)",
      weight: 3,
      async begin(dice) {
        const server = dice.pick(dice.chance(0.7) ? await topology.masters() : topology.servers);
        server.pause();
        const undo = (): Promise<void> => Promise.resolve(server.resume());
        return { what: "redis", processes: everyone, holdMs: dice.between(200, 4000), promotes: "unsafe", undo };
      },
    },
    {
      name: "a server is killed (SIGKILL)",
      weight: 3,
      async begin(dice) {
        const server = dice.pick(dice.chance(0.7) ? await topology.masters() : topology.servers);
        await server.kill();
        const undo = (): Promise<void> => server.restart();
        return { what: "redis", processes: everyone, holdMs: dice.between(0, 3000), promotes: "unsafe", undo };
      },
    },
    {
      name: "clients are cut off (CLIENT KILL)",
      async begin(dice) {
        const server = dice.pick(await topology.masters());
        const types = ["NORMAL", "PUBSUB"].slice(dice.between(0, 1));
        for (const type of types) await withClient(server, (client) => client.call("CLIENT", "KILL", "TYPE", type));
        return { what: "redis", processes: everyone, holdMs: 0, undo: nothing };
      },
    },
    {
      name: "scripts are forgotten (SCRIPT FLUSH)",
      async begin(dice) {
        const server = dice.pick(await topology.masters());
        await withClient(server, (client) => client.script("FLUSH"));
        return { what: "none", processes: [], holdMs: 0, undo: nothing };
      },
    },
    {
      name: "the log is rewritten (BGREWRITEAOF)",
      async begin(dice) {
        const server = dice.pick(await topology.masters());
        await withClient(server, (client) => client.bgrewriteaof()).catch(() => undefined);
        return { what: "none", processes: [], holdMs: 500, undo: nothing };
      },
    },
  ];

  if (promote !== undefined) {
    servers.push({
      name: "a replica is promoted",
      weight: 3,
      async begin(dice) {
        await promote.run((list) => dice.pick(list));
        const promotes = promote.safe ? "safe" : "unsafe";
        return { what: "redis", processes: everyone, holdMs: 1000, promotes, undo: nothing };
      },
    });
  }
  if (migrate !== undefined) {
    servers.push({
      name: "slots move",
      weight: 3,
      async begin(dice) {
        await migrate((list) => dice.pick(list));
        return { what: "redis", processes: everyone, holdMs: 0, undo: nothing };
      },
    });
  }
  return [...networks, ...servers];
}
