import { expect } from "chai";
import { LockService } from "../../../packages/core/src/coordination/locks.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { RedisChannels } from "../../../packages/core/src/store/redis/channels.js";
import type { Connection } from "../../../packages/core/src/store/redis/connect.js";
import { RedisLockStore } from "../../../packages/core/src/store/redis/locks.js";
import { releaseLocksScript, takeLocksScript } from "../../../packages/core/src/store/redis/scripts/locks.js";
import { Tracking } from "../../../packages/core/src/store/redis/tracking.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";
import { rejectionOf } from "../../support/rejection.js";
import { until } from "../../support/until.js";

describe("locks in several slots of a Cluster", () => {
  it("are given back if the circuit breaker opens when some of them are taken", async () => {
    const held = new Set<unknown>();
    let taken = 0;
    const connection: Connection = {
      client: {
        status: "ready",
        call: (_command, ...args) => {
          const key = String(args[2]);
          if (args[0] === releaseLocksScript.sha1) return Promise.resolve(Number(held.delete(key)));
          if (args[0] !== takeLocksScript.sha1) return Promise.resolve(1);
          held.add(key);
          taken += 1;
          // Other calls have failed meanwhile.
          for (const breaker of store.breakers) breaker.open();
          return Promise.resolve([1, "1"]);
        },
        on: () => undefined,
        off: () => undefined,
      },
      ...{ isCluster: true, unsafeOptions: [], hasConnected: () => true, isUp: () => true },
      ...{ onConnect: () => () => undefined, leaveReplica: () => undefined, close: () => Promise.resolve() },
    };
    const [keys, deadlineMs, logger] = [new Keyspace("", "test"), 500, silentLogger];
    const tracking = new Tracking({ connection, logger });
    const channels = new RedisChannels({ connection, tracking, keys, deadlineMs, logger });
    const store = new RedisLockStore({ connection, channels, deadlineMs });
    const locks = new LockService({ store, channels, keys, telemetry: new Telemetry() });

    const names = Array.from({ length: 8 }, (_, index) => `name ${index}`);
    expect(await rejectionOf(locks.acquire(names))).to.include({ code: "store_unavailable" });
    expect([taken, held.size]).to.deep.equal([1, 1]);
    for (const breaker of store.breakers) breaker.close();
    await until(() => held.size === 0);
    await locks.close();
  });
});
