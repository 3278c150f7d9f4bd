import type { LeaseGrant, LeaseRequest, LeaseSource } from "../leases/ports.js";
import { StoreFault } from "../ports.js";
import type { Connection } from "./connect.js";
import { cork } from "./corked.js";
import { faultOfError, faultOfReply } from "./faults.js";
import { hashTag } from "./hash-tag.js";
import { leaseScript } from "./scripts/lease.js";
import { runScript } from "./scripts/script.js";

/** Parts of quotas from Redis: one script call, in Cluster one for each of our hash tags, all at once. */
export class RedisLeaseSource implements LeaseSource {
  readonly #connection: Connection;
  readonly #takesWrites: () => boolean;

  /** @param takesWrites false while writes are known to fail, so that nothing is asked in vain */
  constructor(connection: Connection, takesWrites: () => boolean) {
    this.#connection = connection;
    this.#takesWrites = takesWrites;
  }

  isUp(): boolean {
    return this.#connection.isUp() && this.#takesWrites();
  }

  async exchange(requests: readonly LeaseRequest[]): Promise<(LeaseGrant | StoreFault)[]> {
    if (!this.#connection.isCluster) return this.#exchangeInSlot(requests);
    const bySlot = new Map<string, LeaseRequest[]>();
    for (const request of requests) {
      const tag = hashTag(request.key);
      bySlot.set(tag, [...(bySlot.get(tag) ?? []), request]);
    }
    const grants = new Map<LeaseRequest, LeaseGrant | StoreFault>();
    const corked = cork(this.#connection.client);
    const calls = [...bySlot.values()].map(async (part) => {
      const answers = await this.#exchangeInSlot(part).catch(faultOfError);
      part.forEach((request, index) => {
        const answer = answers instanceof StoreFault ? answers : answers[index];
        if (answer !== undefined) grants.set(request, answer);
      });
    });
    corked.release();
    await Promise.all(calls);
    return requests.map((request) => grants.get(request) ?? new StoreFault("unreadable"));
  }

  async #exchangeInSlot(requests: readonly LeaseRequest[]): Promise<(LeaseGrant | StoreFault)[]> {
    const keys = requests.map(({ key }) => key);
    const args = requests.flatMap(({ limit, take, giveBack, windowEnd }) => [limit, take, giveBack, windowEnd]);
    const reply = (await runScript(this.#connection.client, leaseScript, keys, args)) as (number | string)[];
    return requests.map((_, index) => {
      const [granted, consumed, resetMs, windowEnd] = reply.slice(4 * index, 4 * index + 4);
      return typeof granted === "number"
        ? { granted, consumed: Number(consumed), resetMs: Number(resetMs), windowEnd: Number(windowEnd) }
        : faultOfReply(granted ?? "ERR the answer is too short");
    });
  }
}
