import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:net";
import { monotonicMs } from "../history.js";
import { applications, keyLifeMs, limits } from "../settings.js";
import type { LimitName } from "../settings.js";
import { ask, nextOperation } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
const names = Object.keys(limits) as LimitName[];

/** A client that asks for more than its limit, in bursts, and takes a new key before its window can end. */
export function createHungry(world: () => World, number: number): Client {
  const name = `hungry-${number}`;
  let round = 0;
  return {
    name,
    pauseMs: 500,
    async step(own) {
      round += 1;
      const policy = own.pick(names);
      const key = `${world().part.replaceAll(" ", "-")}-${name}-${round}`;
      const begun = monotonicMs();
      const width = own.between(3, 8);
      const pauseMs = own.pick([10, 100, 400]);
      const most = 2 * limits[policy].limit;
      for (let sent = 0; sent < most && monotonicMs() - begun < keyLifeMs / 2; sent += width) {
        await Promise.all(
          Array.from({ length: width }, () =>
            ask(world(), name, {
              ...{ name: "limited", path: `/limited/${policy}`, process: own.between(0, processes - 1) },
              headers: { "x-key": key },
              args: { policy, key },
            }),
          ),
        );
        await sleep(pauseMs);
      }
    },
  };
}

/** Keys that clients of slots share; those of `dropped` never wait for an answer. */
export const slotKeys = ["one", "two", "dropped"] as const;

export function createSlotUser(world: () => World, number: number): Client {
  const name = `slot-user-${number}`;
  return {
    name,
    pauseMs: 250,
    async step(own) {
      const key = own.pick(["one", "two"]);
      await ask(world(), name, {
        ...{ name: "slots", path: "/slots", process: own.between(0, processes - 1) },
        headers: { "x-key": key, "x-work": own.between(20, 600) },
        leaveAfterMs: own.chance(0.25) ? own.between(5, 200) : undefined,
        args: { key },
      });
    },
  };
}

/** A client whose requests cost less in the end than what is reserved for them. */
export function createSettler(world: () => World, number: number): Client {
  const name = `settler-${number}`;
  return {
    name,
    pauseMs: 250,
    async step(own) {
      const policy = own.pick(["settled", "failures"]);
      const key = settlerKey(world(), number);
      await ask(world(), name, {
        ...{ name: policy, path: `/${policy}`, process: own.between(0, processes - 1) },
        headers: { "x-key": key, "x-work": own.between(5, 300) },
        leaveAfterMs: own.chance(0.2) ? own.between(5, 200) : undefined,
        args: { policy, key },
      });
    },
  };
}

export function settlerKey({ part }: World, number: number): string {
  return `${part.replaceAll(" ", "-")}-settler-${number}`;
}

/** A client that sends requests behind each other on one connection, and is gone before they are answered. */
export function createDropper(world: () => World): Client {
  let round = 0;
  return {
    name: "dropper",
    pauseMs: 1200,
    async step(own) {
      round += 1;
      const { fleet } = world();
      const target = fleet.findFrom(own.between(0, processes - 1));
      if (target === undefined) return;
      // An account and an address that nobody else has.
      const login = `x-account: dropped-${world().part.replaceAll(" ", "-")}-${round}\r\nx-password: wrong\r\nx-forwarded-for: 172.16.${round >> 8}.${round & 255}\r\n`;
      const thing = own.between(0, 3);
      const requests = own.pick([
        `POST /login HTTP/1.1\r\nhost: api.test\r\n${login}content-length: 0\r\n\r\n`,
        `GET /slots HTTP/1.1\r\nhost: api.test\r\nx-key: dropped\r\nx-work: 100\r\nx-operation: ${nextOperation()}\r\n\r\n`,
        `GET /page?key=${thing} HTTP/1.1\r\nhost: api.test\r\nx-key: ${thing}\r\nx-work: 300\r\n\r\n`,
        `GET /cached HTTP/1.1\r\nhost: api.test\r\nx-key: ${thing}\r\nx-work: 300\r\n\r\n`,
      ]);
      const slow = "GET /slow HTTP/1.1\r\nhost: api.test\r\nx-work: 400\r\n\r\n";
      const socket = connect(Number(new URL(target.url).port), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(slow + requests.repeat(own.between(2, 3)));
      await sleep(own.between(60, 250));
      socket.destroy();
    },
  };
}
