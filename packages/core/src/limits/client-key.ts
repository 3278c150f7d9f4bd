import { isIP } from "node:net";
import type { Identifier } from "../auth/identifying-claim.js";
import { checkIdentifying } from "../auth/identifying-claim.js";
import { canonicalAddress } from "../http/address.js";
import { kindOf } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { PartitionPart, Policy } from "./policy.js";

/** One part of a key: what the policy counts by. Of `{ claim }` the issuer belongs to it; a value of 42 is "42". */
export type QuotaKeyPart = string | { readonly issuer: string; readonly value: Identifier };

/**
 * Whom a policy counts: a client's address, a user's `principal`, the value of a header, or what the key function returned;
 * a list where `per` is one; or the `partition` that `busiest()` told.
 */
export type QuotaKey = QuotaKeyPart | readonly QuotaKeyPart[] | { readonly partition: string };

export interface NamingOptions {
  readonly keys: Keyspace;
  readonly ipv6PrefixLength: number;
  /** Does this gate verify tokens? */
  readonly verifies: boolean;
}

/** The partition that requests of this client are counted under. Throws a TypeError for what could be nobody. */
export function partitionOf<Raw>({ name, per }: Policy<Raw>, key: QuotaKey, options: NamingOptions): string {
  if (isPartition(key)) return checkPartition(key.partition);
  const parts: readonly QuotaKeyPart[] = Array.isArray(key) ? (key as QuotaKeyPart[]) : [key as QuotaKeyPart];
  if (parts.length !== per.length)
    throw new TypeError(
      `portcullis: limit "${name}" counts by ${per.length} ${per.length === 1 ? "value" : "values"}, so its key has as many`,
    );
  return per.map((part, index) => partOf(name, part, parts[index], options)).join(":");
}

function partOf<Raw>(
  policy: string,
  part: PartitionPart<Raw>,
  key: unknown,
  { keys, ipv6PrefixLength, verifies }: NamingOptions,
): string {
  // Another gate has found out who they are, and a name says not of which issuer they are.
  if (!verifies && (part === "user" || (typeof part === "object" && "claim" in part)))
    throw new TypeError(
      `portcullis: limit "${policy}" counts users of other gates, since this one has no auth: name them by { partition }`,
    );
  if (typeof part === "object" && "claim" in part) {
    const { issuer, value } = (key ?? {}) as { issuer?: unknown; value?: unknown };
    checkText(policy, "a claim is named by { issuer, value }, texts that are not empty;", issuer);
    return keys.claimPartition(
      issuer,
      part.claim,
      checkIdentifying(`the value of a claim of limit "${policy}"`, value),
    );
  }
  checkText(policy, "a key is a non-empty text,", key);
  if (part === "ip") {
    if (isIP(key) === 0)
      throw new TypeError(`portcullis: limit "${policy}" counts by address, so its key is an IP address`);
    return keys.addressPartition(canonicalAddress(key, ipv6PrefixLength));
  }
  if (typeof part === "object") return keys.headerPartition(part.header, key);
  return part === "user" ? keys.userPartition(key) : keys.customPartition(key);
}

function isPartition(key: QuotaKey): key is { readonly partition: string } {
  return typeof key === "object" && (key as QuotaKey | null) !== null && "partition" in key;
}

/** Parts as the Keyspace makes them; anything else would name a key that nobody counts under. */
function checkPartition(partition: unknown): string {
  if (typeof partition === "string" && /^[A-Za-z0-9_.~-]{1,64}(:[A-Za-z0-9_.~-]{1,64})*$/.test(partition))
    return partition;
  throw new TypeError("portcullis: a partition is what busiest() told, unchanged");
}

function checkText(policy: string, rule: string, text: unknown): asserts text is string {
  if (typeof text === "string" && text !== "") return;
  throw new TypeError(`portcullis: limit "${policy}": ${rule} not ${text === "" ? "an empty one" : kindOf(text)}`);
}
