import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";

/**
 * `sub` and `jti` are unique per issuer only (RFC 7519 4.1.2, 4.1.7), so identifiers of several issuers are told apart
 * before they become keys. One issuer's stay as they are, because other services know them so: the shared issuer's.
 */
export class IssuerScope {
  /** The issuers that are known by name. */
  readonly known: readonly string[];
  readonly #shared: string | undefined;
  /** May there be tokens of two issuers? */
  readonly #several: boolean;
  readonly #open: boolean;
  readonly #prefixes = new LRUCache<string, string>({ max: 1000 });

  /**
   * Several issuers need a shared one only where another service reads or writes the same keys. `open` says that a function
   * accepts issuers that are not known by name.
   */
  constructor(known: readonly string[], sharedIssuer: string | undefined, open = false) {
    this.known = known;
    this.#open = open;
    this.#several = known.length > 1 || open;
    this.#shared = sharedIssuer ?? (this.#several ? undefined : known[0]);
  }

  /** The identifier as it is unique among all issuers. A TypeError if it cannot be told whose it is. */
  qualify(issuer: string | undefined, identifier: string): string {
    if (!this.#several) return identifier;
    const whose = issuer ?? this.#shared;
    if (whose === undefined || !(this.#open || this.known.includes(whose)))
      throw new TypeError("there are several issuers: say which of them issued the token");
    // What looks like another issuer's must not be taken for it.
    return whose === this.#shared && !qualified.test(identifier) ? identifier : this.#prefixOf(whose) + identifier;
  }

  /** A principal as it came from `auth`. A TypeError for a bare `sub` that no issuer has as it is: it would name nobody. */
  checkPrincipal(principal: string): void {
    if (!this.#several || this.#shared !== undefined || qualified.test(principal)) return;
    throw new TypeError("there are several issuers: pass the auth of the user, or its principal, not a bare sub");
  }

  #prefixOf(issuer: string): string {
    const known = this.#prefixes.get(issuer);
    if (known !== undefined) return known;
    const prefix = `iss-${createHash("sha256").update(issuer).digest("hex").slice(0, 32)}.`;
    this.#prefixes.set(issuer, prefix);
    return prefix;
  }
}

/** 128 bits of a digest: whoever may choose the name of an accepted issuer must not find one that meets another. */
const qualified = /^iss-[0-9a-f]{32}\./;
