import type { Keyspace } from "../store/keyspace.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import type { LimitOverrides } from "../store/ports/limit-overrides.js";
import type { Logger } from "../telemetry/logger.js";
import { ConsumptionFactory } from "./consumption.js";
import { TopKeysReporter } from "./top-keys.js";
import { QuotaService } from "./quotas.js";
import { OverrideCache } from "./override-cache.js";

export interface AdministrationOptions {
  readonly store: DecisionStore;
  readonly records: LimitOverrides;
  /** Do other processes change the rules too? */
  readonly shared: boolean;
  readonly keys: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? Otherwise the users it counts are those of other gates. */
  readonly verifies: boolean;
  readonly logger: Logger;
}

/** What charges requests, and what operators change about it. */
export interface Administration<Raw> {
  readonly charges: ConsumptionFactory<Raw>;
  readonly quotas: QuotaService<Raw>;
  close(): void;
}

export function administerQuotas<Raw>(options: AdministrationOptions): Administration<Raw> {
  const { store, records, shared, keys, ipv6PrefixLength, verifies, logger } = options;
  const rules = new OverrideCache({ records, shared });
  const demand = new TopKeysReporter(records, keys);
  const charges = new ConsumptionFactory<Raw>({ keys, ipv6PrefixLength, logger, rules, demand });
  return {
    charges,
    quotas: new QuotaService({ store, records, keys, charges, rules, demand, ipv6PrefixLength, verifies }),
    close() {
      rules.close();
      demand.close();
    },
  };
}
