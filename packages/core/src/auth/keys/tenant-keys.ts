import { LRUCache } from "lru-cache";
import { isTrustworthyUrl } from "../../lib/validate.js";
import { isForeignHostAllowed } from "./guarded-lookup.js";
import type { KeySource } from "./key-source.js";

/** Issuers whose keys are kept at once; the one longest unused makes room. */
const maxTenants = 1000;

/** Of an issuer that nobody can be asked about safely: its tokens are refused, whatever the application says. */
const noKeys: KeySource = {
  candidates: () => [],
  version: () => 0,
  status: () => "up",
  close: () => undefined,
};

/** The keys of issuers that a function accepts, each discovered when its first token comes. */
export class TenantKeys {
  readonly #open: (issuer: string) => KeySource;
  readonly #allowPrivateAddresses: boolean;
  readonly #tenants = new LRUCache<string, KeySource>({ max: maxTenants, dispose: (keys) => keys.close() });

  constructor(open: (issuer: string) => KeySource, allowPrivateAddresses: boolean) {
    this.#open = open;
    this.#allowPrivateAddresses = allowPrivateAddresses;
  }

  of(issuer: string): KeySource {
    if (!this.#mayAsk(issuer)) return noKeys;
    const known = this.#tenants.get(issuer);
    if (known !== undefined) return known;
    const keys = this.#open(issuer);
    this.#tenants.set(issuer, keys);
    return keys;
  }

  /** The issuer is the word of a token that nobody has verified, so it must not make this process ask its own network. */
  #mayAsk(issuer: string): boolean {
    return isTrustworthyUrl(issuer) && isForeignHostAllowed(new URL(issuer).hostname, this.#allowPrivateAddresses);
  }

  /** No tenant is known before its first token, so there is nothing to be down. */
  status(): "up" | "down" {
    const all = [...this.#tenants.values()];
    return all.length > 0 && all.every((keys) => keys.status() === "down") ? "down" : "up";
  }

  close(): void {
    this.#tenants.clear();
  }
}
