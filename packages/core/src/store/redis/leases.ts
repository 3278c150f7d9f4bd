import type { LeaseGrant, LeaseRequest, LeaseSource } from "../ports/leases.js";
import { StoreFault } from "../ports/fault.js";
import { kinds } from "./decide-batch.js";
import type { Connection } from "./connect.js";
import { cork } from "./client.js";
import { faultOfError, faultOfPart, integerIn, readListOf, unreadable } from "./replies.js";
import type { GiveBacks } from "./give-backs.js";
import { callEachSlot } from "./hash-slot.js";
import { adjustScript } from "./scripts/adjust.js";
import { leaseScript } from "./scripts/lease.js";
import { runScript } from "./run-script.js";

/** The grant of a request that gives back. */
const nothing: LeaseGrant = { granted: 0, consumed: 0, resetMs: 0, windowEnd: 0 };

/**
 * Takes parts of quotas from Redis with one script call; in a Cluster, with one for each hash slot, at the same time.
 * Points are given back as {@link GiveBacks}, so that they are not lost.
 */
export class RedisLeaseSource implements LeaseSource {
  readonly #connection: Connection;
  readonly #giveBacks: GiveBacks;
  readonly #takesWrites: () => boolean;

  /** @param takesWrites false while writes fail: then nothing is asked */
  constructor(connection: Connection, giveBacks: GiveBacks, takesWrites: () => boolean) {
    this.#connection = connection;
    this.#giveBacks = giveBacks;
    this.#takesWrites = takesWrites;
  }

  isUp(): boolean {
    return this.#connection.isUp() && this.#takesWrites();
  }

  async exchange(requests: readonly LeaseRequest[]): Promise<(LeaseGrant | StoreFault)[]> {
    const takers = requests.filter(({ take }) => take > 0);
    for (const request of requests) if (request.take === 0) this.#giveBack(request);
    const grants = takers.length === 0 ? [] : await this.#take(takers);
    let next = 0;
    return requests.map(({ take }) => (take > 0 ? (grants[next++] ?? new StoreFault("unreadable")) : nothing));
  }

  #giveBack({ key, limit, giveBack, windowEnd, windowMs }: LeaseRequest): void {
    const args = [kinds["fixed-window"], limit, windowMs, -giveBack, windowEnd];
    this.#giveBacks.push(adjustScript, { key, args, lifeMs: windowMs }, true);
  }

  async #take(requests: readonly LeaseRequest[]): Promise<(LeaseGrant | StoreFault)[]> {
    if (!this.#connection.isCluster) return this.#exchangeInSlot(requests);
    const corked = cork(this.#connection.client);
    const grants = callEachSlot(
      requests,
      ({ key }) => key,
      (slot) => this.#exchangeInSlot(slot).catch((error: unknown) => slot.map(() => faultOfError(error))),
    );
    corked.release();
    return grants;
  }

  async #exchangeInSlot(requests: readonly LeaseRequest[]): Promise<(LeaseGrant | StoreFault)[]> {
    const keys = requests.map(({ key }) => key);
    const args = requests.flatMap(({ limit, take }) => [limit, take]);
    const reply = readListOf(await runScript(this.#connection.client, leaseScript, keys, args), 4 * requests.length);
    return requests.map((request, index) => {
      const grant = readGrant(request, reply.slice(4 * index, 4 * index + 4));
      if (grant instanceof StoreFault) this.#connection.unreadable?.("lease", grant);
      return grant;
    });
  }
}

/** Reads a grant. More points than requested are a fault. */
function readGrant({ take }: LeaseRequest, [said, ...rest]: readonly unknown[]): LeaseGrant | StoreFault {
  const granted = integerIn(said, 0);
  if (granted === undefined) return faultOfPart(said);
  const [consumed, resetMs] = rest.map((number) => integerIn(number, 0));
  // Below 0 if the counter does not exist or has no end.
  const windowEnd = integerIn(rest[2], -2);
  if (granted > take || consumed === undefined || resetMs === undefined || windowEnd === undefined) return unreadable();
  return { granted, consumed, resetMs, windowEnd };
}
