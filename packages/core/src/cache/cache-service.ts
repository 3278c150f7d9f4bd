import type { CachePartsOptions } from "./cache-parts.js";
import { CacheParts } from "./cache-parts.js";
import type { GateCache, RequestCache } from "./cache-types.js";
import { CacheView } from "./cache.js";
import type { Region } from "./regions.js";
import { sharedScope } from "./regions.js";
import type { RequestSender } from "./request-scope.js";
import { RequestScope } from "./request-scope.js";

/** The cache of a gate: the views of requests, and the one outside requests. */
export class CacheService extends CacheParts {
  /** Outside requests: nothing is remembered, and users and tenants are named. */
  readonly outside: GateCache;
  readonly #memo: boolean;
  readonly #shared: Region;

  constructor(options: CachePartsOptions) {
    super(options);
    this.#memo = options.options.memo;
    this.#shared = this.cache.regions.at(sharedScope, "");
    this.outside = new CacheView(this, new RequestScope(undefined, undefined, false), this.#shared);
  }

  /** The cache of one request. */
  create(sender: RequestSender, source?: { readonly signal: AbortSignal }): RequestCache {
    return new CacheView(this, new RequestScope(sender, source, this.#memo), this.#shared);
  }
}
