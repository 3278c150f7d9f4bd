import { identifyingClaim, unfit } from "../auth/identifying-claim.js";
import type { Denied } from "../http/verdict.js";
import { DenialError, deny } from "../http/verdict.js";
import type { ResolvedCache, ResolvedCachePolicy } from "./options.js";
import type { CacheStore } from "../store/ports/cache.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metric } from "../telemetry/metrics.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { Tiers } from "./tiers.js";
import { GetOrSet } from "./get-or-set.js";
import type { Region } from "./regions.js";
import type { CacheSignals } from "../store/ports/cache-signals.js";
import type { RequestScope } from "./request-scope.js";
import { SharedUserWarning } from "./shared-user-warning.js";
import { Writer } from "./writer.js";

export interface CachePartsOptions {
  readonly store: CacheStore;
  readonly signals: CacheSignals;
  readonly keys: Keyspace;
  readonly options: ResolvedCache;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Refuses a token for this cause. @default without a challenge */
  readonly refuse?: ((cause: string) => Denied) | undefined;
}

/** The parts of a cache that the views of all requests share. */
export class CacheParts {
  readonly cache: Tiers;
  readonly writer: Writer;
  readonly getOrSet: GetOrSet;
  readonly warning: SharedUserWarning;
  readonly policy: ResolvedCachePolicy;
  readonly refreshesEarly: boolean;
  readonly #options: CachePartsOptions;
  readonly #warnedOfSize = new Set<string>();

  constructor(options: CachePartsOptions) {
    this.#options = options;
    this.cache = new Tiers(options);
    this.writer = new Writer(this.cache);
    this.getOrSet = new GetOrSet(this.cache, this.writer);
    this.warning = new SharedUserWarning(options.logger);
    this.policy = options.options.policy;
    this.refreshesEarly = this.policy.earlyRefresh !== undefined;
  }

  /**
   * The tenant that a token names; undefined if it names none. A DenialError (401) for a claim that is neither text nor an
   * integer: another gate may have verified the token.
   */
  tenantOf({ auth, issuers = this.#options.keys.issuers }: RequestScope): string | undefined {
    const { options, refuse = unchallenged } = this.#options;
    const { tenantClaim } = options;
    if (auth === undefined || tenantClaim === undefined) return undefined;
    const tenant = identifyingClaim(auth.claims, tenantClaim);
    if (tenant === unfit)
      throw new DenialError(refuse("the claim of cache.tenantClaim is neither text nor a safe integer"));
    return tenant === undefined ? undefined : issuers.qualify(auth.issuer, tenant);
  }

  checkSize(payload: string): void {
    const { maxValueSize } = this.#options.options;
    if (payload.length <= maxValueSize) return;
    const message = `a cached value of ${payload.length} is larger than cache.maxValueSize, ${maxValueSize}`;
    throw Object.assign(new RangeError(message), { code: "cache_value_too_large" });
  }

  /** A value that `getOrSet` has made is returned all the same. */
  warnOfSize({ statistics: { namespace } }: Region, size: number): void {
    if (this.#warnedOfSize.has(namespace)) return;
    this.#warnedOfSize.add(namespace);
    const message = "portcullis: a value was not cached, since it is larger than cache.maxValueSize";
    this.#options.logger.warn({ namespace, size, maxValueSize: this.#options.options.maxValueSize }, message);
  }

  metrics(): readonly Metric[] {
    return this.cache.statistics.read();
  }

  /** Resolves when the store may be closed. */
  close(): Promise<void> {
    return this.cache.close();
  }
}

function unchallenged(cause: string): Denied {
  return deny("token_invalid", { cause });
}
