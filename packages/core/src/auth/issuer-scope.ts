import { createHash } from "node:crypto";

/**
 * `sub` and `jti` are unique per issuer only (RFC 7519 4.1.2, 4.1.7), so identifiers of several issuers are told apart
 * before they become keys. One issuer's stay as they are, because other services know them so: the shared issuer's.
 */
export class IssuerScope {
  /** The issuers whose tokens are expected; none if any is. */
  readonly known: readonly string[];
  readonly #shared: string | undefined;
  readonly #prefixes: ReadonlyMap<string, string>;

  /** Several issuers need a shared one only where another service reads or writes the same keys. */
  constructor(issuers: readonly string[], sharedIssuer: string | undefined) {
    this.known = issuers;
    this.#shared = sharedIssuer ?? (issuers.length === 1 ? issuers[0] : undefined);
    this.#prefixes = new Map(issuers.length <= 1 ? [] : issuers.map((issuer) => [issuer, prefixOf(issuer)]));
  }

  /** The identifier as it is unique among all issuers. A TypeError if it cannot be told whose it is. */
  qualify(issuer: string | undefined, identifier: string): string {
    if (this.#prefixes.size === 0) return identifier;
    const whose = issuer ?? this.#shared;
    const prefix = whose === undefined ? undefined : this.#prefixes.get(whose);
    if (prefix === undefined) throw new TypeError("there are several issuers: say which of them issued the token");
    // What looks like another issuer's must not be taken for it.
    return whose === this.#shared && !qualified.test(identifier) ? identifier : prefix + identifier;
  }

  /** A principal as it came from `auth`. A TypeError for a bare `sub` that no issuer has as it is: it would name nobody. */
  checkPrincipal(principal: string): void {
    if (this.#prefixes.size === 0 || this.#shared !== undefined) return;
    if ([...this.#prefixes.values()].some((prefix) => principal.startsWith(prefix))) return;
    throw new TypeError("there are several issuers: pass the auth of the user, or its principal, not a bare sub");
  }
}

const qualified = /^iss-[0-9a-f]{16}\./;

function prefixOf(issuer: string): string {
  return `iss-${createHash("sha256").update(issuer).digest("hex").slice(0, 16)}.`;
}
