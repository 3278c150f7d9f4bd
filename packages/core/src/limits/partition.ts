import { claimAt, identifyingClaim, notIdentifying, checkIdentifying, showClaim } from "../auth/identifying-claim.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import { refuseToken } from "../auth/token-refusal.js";
import { kindFound } from "../http/denial-detail.js";
import type { TokenNote, VerifiedToken } from "../auth/verifier.js";
import { canonicalAddress, mayBeProxy, unknownAddress } from "../http/address.js";
import type { Exchange } from "../http/exchange.js";
import type { Keyspace } from "../store/keyspace.js";
import type { Logger } from "../telemetry/logger.js";
import { TwoGenerationCache } from "../lib/two-generation-cache.js";
import type { PartitionPart, Policy } from "./policy.js";
import { hasHeader } from "./policy.js";
import { isIP } from "node:net";
import type { Identifier } from "../auth/identifying-claim.js";
import { kindOf } from "../lib/validate.js";

/** Addresses whose partitions are remembered; others' are made anew. */
const maxAddresses = 10_000;

/** Requests that are examined for proxies, whatever their address; later ones only if their address is new. */
const maxExamined = 1000;
const trustThatProxy = "let the application trust that proxy (Express: trust proxy, Koa: proxy and maxIpsCount)";

/** An address of clients, with the consumption of a limit, kept for the next request from it. */
export interface KnownAddress extends TokenNote {
  readonly partition: string;
}

/** Problems with client addresses that requests have shown. */
export interface SeenAddresses {
  /** Does the application trust every proxy? */
  trustsEveryProxy(): boolean;
  /** Was a list `allow` not applied because the address may be that of a proxy? */
  distrustsProxy(): boolean;
  /** Did a limit count a request by an address that may be that of a proxy? */
  countsProxy(): boolean;
  /** Did a request have no readable address? */
  lacksAddresses(): boolean;
}

export interface PartitionOptions {
  readonly keyspace: Keyspace;
  readonly ipv6PrefixLength: number;
  readonly logger: Logger;
}

function refuseWithoutSubject(policy: string): TokenRefusal {
  return refuseToken("the token has no subject, which a limit per user needs", () => ({
    policy,
    claim: "sub",
    expected: "text",
    found: "none",
  }));
}

function refuseClaimOf(policy: string, claim: string, claims: object): TokenRefusal {
  return refuseToken("a claim that a limit counts by is neither text nor a safe integer", () => ({
    policy,
    claim: showClaim(claim),
    expected: "text or an integer",
    found: kindFound(claimAt(claims, claim)),
  }));
}

/** Finds the partition by which a policy counts a request, as text for a key. */
export class PartitionFinder<Raw> {
  readonly #keyspace: Keyspace;
  readonly #ipv6PrefixLength: number;
  readonly #logger: Logger;
  /** Partitions by address, as the framework gives it. */
  readonly #addresses = new TwoGenerationCache<string, KnownAddress>({ max: maxAddresses });
  #unexamined = maxExamined;
  #trustsEveryProxy = false;
  #distrustsProxy = false;
  #countsProxy = false;
  #lacksAddresses = false;

  constructor({ keyspace, ipv6PrefixLength, logger }: PartitionOptions) {
    this.#keyspace = keyspace;
    this.#ipv6PrefixLength = ipv6PrefixLength;
    this.#logger = logger;
  }

  /** Does the application trust every proxy? */
  trustsEveryProxy(): boolean {
    return this.#trustsEveryProxy;
  }

  /** Was a list `allow` not applied because the address may be that of a proxy? */
  distrustsProxy(): boolean {
    return this.#distrustsProxy;
  }

  /** Did a limit count a request by an address that may be that of a proxy? */
  countsProxy(): boolean {
    return this.#countsProxy;
  }

  /** May the address be that of a proxy? Then the list `allow` would let every client pass. */
  mayBeProxy(exchange: Exchange<Raw>): boolean {
    if (!mayBeProxy(exchange)) return false;
    if (!this.#distrustsProxy) {
      this.#distrustsProxy = true;
      this.#logger.warn(
        { code: "proxy_untrusted" },
        `portcullis: allow is not applied to a request that came through a proxy that is not trusted; ${trustThatProxy}`,
      );
    }
    return true;
  }

  /** Did a request have no readable address? */
  lacksAddresses(): boolean {
    return this.#lacksAddresses;
  }

  /**
   * Finds one part of the partition. Undefined for an anonymous request and a policy by user or claim, which then does not
   * apply. A request without the header counts by its address; a token without the claim counts by its user, or else by the
   * address: never in one bucket for all. A claim that identifies nobody is a refusal.
   */
  find(
    part: Exclude<PartitionPart<Raw>, (...args: never[]) => unknown>,
    exchange: Exchange<Raw>,
    token: VerifiedToken | undefined,
    policy: string,
  ): string | TokenRefusal | undefined {
    if (part === "ip") return this.address(exchange);
    if (part === "user") return token?.partition === "" ? refuseWithoutSubject(policy) : token?.partition;
    if ("header" in part) {
      const value = exchange.header(part.header)?.trim();
      return value === undefined || value === ""
        ? this.address(exchange)
        : this.#keyspace.headerPartition(part.header, value);
    }
    if (token === undefined) return undefined;
    const value = identifyingClaim(token.auth.claims, part.claim);
    if (value === notIdentifying) return refuseClaimOf(policy, part.claim, token.auth.claims);
    if (value !== undefined) return this.#keyspace.claimPartition(token.auth.issuer, part.claim, value, token.issuers);
    return token.partition === "" ? this.address(exchange) : token.partition;
  }

  /** The key that a function returned, as a part of the partition. Throws a TypeError if it is not a non-empty string. */
  check(policy: string, key: unknown): string {
    if (typeof key === "string" && key !== "") return this.#keyspace.customPartition(key);
    throw new TypeError(`portcullis: the key function of limit "${policy}" must return a non-empty string`);
  }

  address(exchange: Exchange<Raw>): string {
    return this.knownAddress(exchange).partition;
  }

  /** The partition of the address of a client, the same object for many of its requests. */
  knownAddress(exchange: Exchange<Raw>): KnownAddress {
    if (this.#unexamined > 0) this.#examineProxies(exchange);
    const { ip } = exchange;
    const known = ip === undefined ? undefined : this.#addresses.get(ip);
    if (known !== undefined) return known;
    const canonical = canonicalAddress(ip, this.#ipv6PrefixLength);
    if (canonical === unknownAddress && !this.#lacksAddresses) this.#noteMissing(exchange);
    if (this.#unexamined === 0 && !this.#countsProxy) this.#examineForwarding(exchange);
    const partition = this.#keyspace.addressPartition(canonical);
    const address = { partition, writer: undefined, generation: 0, value: undefined };
    // Behind a careless proxy the text may have any length.
    if (ip !== undefined && ip.length <= 64) this.#addresses.set(ip, address);
    return address;
  }

  #noteMissing({ signal }: Exchange<Raw>): void {
    // A closed socket has no address, and its client gets no answer.
    if (signal.aborted) return;
    this.#lacksAddresses = true;
    const advice = "let the application trust a proxy that tells it (Express: trust proxy, Koa: proxy)";
    this.#logger.warn(
      { code: "address_missing" },
      `portcullis: a request has no client address that can be read, and all such requests count as one client; ${advice}`,
    );
  }

  /** The setting of the framework is not known before its first request. */
  #examineProxies(exchange: Exchange<Raw>): void {
    const { trustsEveryProxy } = exchange;
    if (trustsEveryProxy === undefined) return;
    this.#unexamined -= 1;
    if (!trustsEveryProxy) return this.#examineForwarding(exchange);
    this.#unexamined = 0;
    this.#trustsEveryProxy = true;
    const advice = "say how many proxies there are (Express: trust proxy, Koa: maxIpsCount)";
    this.#logger.warn(
      {},
      `portcullis: every proxy is trusted, so clients choose the address they are limited by; ${advice}`,
    );
  }

  /** All clients behind a proxy that is not trusted have its address, and share what is meant for one. */
  #examineForwarding(exchange: Exchange<Raw>): void {
    if (exchange.trustsEveryProxy !== false || !mayBeProxy(exchange)) return;
    this.#countsProxy = true;
    this.#unexamined = 0;
    this.#logger.warn(
      { code: "proxy_untrusted" },
      `portcullis: requests come through a proxy that is not trusted, so all clients behind it count as one address; ${trustThatProxy}`,
    );
  }
}

const clientKinds: Readonly<Record<string, string>> = { a: "address", u: "user", c: "claim", h: "header", k: "key" };

/**
 * The client of a partition for logs: the kind and a digest of each of its parts. An address has the digest that its key in
 * Redis has; a user the digest of the name, which the key may hold in plain.
 */
export function showPartition(partition: string, keyspace: Pick<Keyspace, "digest">): string {
  const words = partition.split(":");
  const clients: string[] = [];
  for (let at = 0; at + 2 < words.length; at += 3) {
    const [kind = "", , name = ""] = words.slice(at, at + 3);
    clients.push(`${clientKinds[kind] ?? "client"} ${name.startsWith("~") ? name : keyspace.digest(name)}`);
  }
  return clients.join(" and ");
}

/**
 * One part of a key. For `{ claim }` the issuer belongs to it; the value 42 is "42". Security events name the value of a header
 * by its `partition`.
 */
export type QuotaKeyPart =
  string | { readonly issuer: string; readonly value: Identifier } | { readonly partition: string };

/**
 * Names a client of a policy: its address, the `principal` of a user, the value of a header, or the key that the function
 * returned; a list if `per` is a list; or the `partition` that `busiest()`, `overrides()` or `blocks()` returned.
 */
export type QuotaKey = QuotaKeyPart | readonly QuotaKeyPart[] | { readonly partition: string };

export interface NamingOptions {
  readonly keyspace: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? */
  readonly verifies: boolean;
}

/** The partition of a client that a call names. Throws a TypeError for a key that no client can have. */
export function partitionOf<Raw>({ name, per }: Policy<Raw>, key: QuotaKey, options: NamingOptions): string {
  if (isPartition(key)) return checkPartition(key.partition);
  const parts: readonly QuotaKeyPart[] = Array.isArray(key) ? (key as QuotaKeyPart[]) : [key as QuotaKeyPart];
  if (parts.length !== per.length)
    throw new TypeError(
      `portcullis: limit "${name}" counts by ${per.length} ${per.length === 1 ? "value" : "values"}, so its key needs as many`,
    );
  return per.map((part, index) => partOf(name, part, parts[index], options)).join(":");
}

function partOf<Raw>(
  policy: string,
  part: PartitionPart<Raw>,
  key: unknown,
  { keyspace, ipv6PrefixLength, verifies }: NamingOptions,
): string {
  if (isPartition(key)) return checkPartition(key.partition);
  // Another gate verified these users, and a name alone does not tell the issuer.
  if (!verifies && (part === "user" || (typeof part === "object" && "claim" in part)))
    throw new TypeError(
      `portcullis: limit "${policy}" counts users of other gates, since this one has no auth: name them by { partition }`,
    );
  if (typeof part === "object" && "claim" in part) {
    const { issuer, value } = (key ?? {}) as { issuer?: unknown; value?: unknown };
    checkText(policy, "a claim is named by { issuer, value }, texts that are not empty;", issuer);
    return keyspace.claimPartition(
      issuer,
      part.claim,
      checkIdentifying(`the value of a claim of limit "${policy}"`, value),
    );
  }
  checkText(policy, "a key is a non-empty text,", key);
  if (part === "ip") {
    if (isIP(key) === 0)
      throw new TypeError(`portcullis: limit "${policy}" counts by address, so its key is an IP address`);
    return keyspace.addressPartition(canonicalAddress(key, ipv6PrefixLength));
  }
  if (typeof part === "object") return keyspace.headerPartition(part.header, key);
  return part === "user" ? keyspace.userPartition(key) : keyspace.customPartition(key);
}

/**
 * The key of a client as security events name it. Values of headers may be secrets, such as keys of an API, so that events
 * have their digest, in the form that calls accept. A copy: a listener must not change the key of the caller.
 */
export function auditedKey<Raw>({ per }: Policy<Raw>, key: QuotaKey | undefined, keyspace: Keyspace): unknown {
  const nameOf = (part: unknown, by: PartitionPart<Raw> | undefined): unknown => {
    if (by !== undefined && hasHeader(by) && typeof part === "string")
      return Object.freeze({ partition: keyspace.headerPartition(by.header, part) });
    return typeof part === "object" && part !== null ? Object.freeze({ ...part }) : part;
  };
  return Array.isArray(key)
    ? Object.freeze(key.map((part: unknown, index) => nameOf(part, per[index])))
    : nameOf(key, per[0]);
}

function isPartition(key: unknown): key is { readonly partition: unknown } {
  return typeof key === "object" && key !== null && "partition" in key;
}

/** Checks the form that the Keyspace makes. Another text would name a key that no request counts under. */
function checkPartition(partition: unknown): string {
  if (typeof partition === "string" && /^[A-Za-z0-9_.~-]{1,64}(:[A-Za-z0-9_.~-]{1,64})*$/.test(partition))
    return partition;
  throw new TypeError(
    "portcullis: a partition must be one that busiest(), overrides() or blocks() returned, unchanged",
  );
}

function checkText(policy: string, rule: string, text: unknown): asserts text is string {
  if (typeof text === "string" && text !== "") return;
  throw new TypeError(`portcullis: limit "${policy}": ${rule} not ${text === "" ? "an empty one" : kindOf(text)}`);
}
