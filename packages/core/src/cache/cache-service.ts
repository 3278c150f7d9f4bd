import { identifyingClaim, notIdentifying } from "../auth/identifying-claim.js";
import { DenialError, deny } from "../http/verdict.js";
import type { Denied } from "../http/verdict.js";
import type { Keyspace } from "../store/keyspace.js";
import type { CacheSignals, CacheStore } from "../store/ports/cache.js";
import { CacheStatistics } from "../telemetry/cache-statistics.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metric } from "../telemetry/metrics.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { CacheParts, RequestSender } from "./cache.js";
import { CacheView, RequestScope } from "./cache.js";
import type { GateCache, RequestCache } from "./cache-types.js";
import { Codecs } from "./entry.js";
import { Entries } from "./entries.js";
import { FactoryRunner } from "./factory-runner.js";
import { Generations, openRenewals } from "./generations.js";
import { GetOrSet } from "./get-or-set.js";
import { Invalidations } from "./invalidations.js";
import { Leases, LeaseWaiters } from "./leases.js";
import { LocalTier } from "./local-tier.js";
import type { ResolvedCache } from "./options.js";
import type { Region } from "./regions.js";
import { Regions, sharedScope } from "./regions.js";
import { Tiers } from "./tiers.js";
import { OversizeWarning, SharedUserWarning } from "./warnings.js";

export interface CacheServiceOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Refuses a token for this cause. @default a denial without a challenge */
  readonly refuse?: ((cause: string) => Denied) | undefined;
  /** Called for a value with undefined members, which JSON leaves out. */
  readonly onDropped?: (() => void) | undefined;
}

/** The cache of a gate: builds its parts, and gives each request a view of it. */
export class CacheService {
  /** The view outside requests: it has no memo, and users and tenants are named. */
  readonly gateView: GateCache;
  /** Renewals of generations on their way into the store; those of tags end responses, too. */
  readonly renewals: Invalidations;
  readonly #parts: CacheParts;
  readonly #deletions: Invalidations;
  readonly #leases: Leases;
  readonly #waiters: LeaseWaiters;
  readonly #statistics: CacheStatistics;
  readonly #hasMemo: boolean;
  readonly #shared: Region;

  constructor(services: CacheServiceOptions) {
    const { store, signals, keys, options, telemetry, logger, refuse = unchallenged, onDropped } = services;
    const { policy, tracked, maxValueSize, tenantClaim } = options;
    this.#statistics = new CacheStatistics(telemetry.gate);
    const renewals = openRenewals({ store, telemetry, logger });
    const deletions = new Invalidations({ apply: (key) => store.deleteMany([key]), telemetry, logger });
    const maxStalenessMs = options.local?.ttlMs ?? 0;
    const generations = new Generations({ store, signals, renewals, maxStalenessMs });
    const codecs = new Codecs(options.codec, onDropped);
    const entries = new Entries({ store, keys, options, codecs, generations });
    for (const invalidations of [deletions, renewals]) invalidations.listen({ overflowed: () => entries.distrust() });
    const local = options.local === undefined ? undefined : new LocalTier({ ...options.local, signals });
    const leases = new Leases(store);
    const waiters = new LeaseWaiters(signals.channels);
    const tiers = new Tiers({
      ...{ store, keys, local, entries, generations, deletions, waiters, signals, tracked, telemetry },
    });
    const runner = new FactoryRunner({
      ...{ store, tiers, entries, generations, leases, waiters, codecs, maxValueSize },
    });
    this.renewals = renewals;
    this.#deletions = deletions;
    this.#leases = leases;
    this.#waiters = waiters;
    this.#hasMemo = options.memo;
    this.#parts = {
      ...{ local, tiers, codecs, keys, policy, maxValueSize },
      isShared: local !== undefined && !options.copies,
      regions: new Regions(keys, tracked, this.#statistics),
      getOrSet: new GetOrSet({ tiers, entries, waiters, runner }),
      sharedUserWarning: new SharedUserWarning(logger),
      oversizeWarning: new OversizeWarning(logger, maxValueSize),
      tenantOf: (request) => tenantOf(request, { tenantClaim, refuse, keys }),
    };
    this.#shared = this.#parts.regions.at(sharedScope, "");
    this.gateView = new CacheView(this.#parts, new RequestScope(undefined, undefined, false), this.#shared);
  }

  /** The cache of one request. */
  create(sender: RequestSender, source?: { readonly signal: AbortSignal }): RequestCache {
    return new CacheView(this.#parts, new RequestScope(sender, source, this.#hasMemo), this.#shared);
  }

  metrics(): readonly Metric[] {
    return this.#statistics.read();
  }

  /** Drops all entries in process; the store keeps them. */
  flush(): void {
    this.#parts.tiers.flush();
  }

  /** Resolves when the store may be closed. */
  async close(): Promise<void> {
    this.#waiters.close();
    this.flush();
    await Promise.all([this.renewals.close(), this.#deletions.close(), this.#leases.close()]);
  }
}

interface TenantRules {
  readonly tenantClaim: string | undefined;
  readonly refuse: (cause: string) => Denied;
  readonly keys: Keyspace;
}

/**
 * The tenant that the token of a request names; undefined without one. Throws a DenialError (401) for a claim that is neither
 * text nor an integer: another gate may have verified the token.
 */
function tenantOf({ auth, issuers }: RequestScope, { tenantClaim, refuse, keys }: TenantRules): string | undefined {
  if (auth === undefined || tenantClaim === undefined) return undefined;
  const tenant = identifyingClaim(auth.claims, tenantClaim);
  if (tenant === notIdentifying)
    throw new DenialError(refuse("the claim of cache.tenantClaim is neither text nor a safe integer"));
  return tenant === undefined ? undefined : (issuers ?? keys.issuers).qualify(auth.issuer, tenant);
}

function unchallenged(cause: string): Denied {
  return deny("token_invalid", { cause });
}
