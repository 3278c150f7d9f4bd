import { createHash, createHmac } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Algorithm } from "./ports.js";
import type { GroupKeys, SubjectKeys } from "./session-store.js";

/** Version of our own keys and values: old and new releases read each other's during a rolling deploy. */
const version = 1;

/** Our keys spread over this many hash tags: enough to balance a cluster, few enough to batch well. */
const shards = 64;

const plain = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * The one place that turns identifiers into key text.
 *
 * The shared families take an identifier literally, as the other services write it. Our own keys take a short, plain one
 * literally and any other as a keyed digest (HMAC-SHA-256, RFC 2104), so that two identifiers never meet in one key,
 * e-mail and IP addresses are not readable in Redis, and no user text chooses the cluster slot.
 */
export class Keyspace {
  readonly #prefix: string;
  readonly #secret: string;
  readonly #seed: number;
  readonly #digests = new LRUCache<string, string>({ max: 5000 });

  constructor(prefix: string, secret: string) {
    this.#prefix = prefix;
    this.#secret = secret;
    this.#seed = createHmac("sha256", secret).update("shard").digest().readUInt32LE();
  }

  revokedToken(jti: string): string {
    return isLiteral(jti)
      ? `${this.#prefix}auth:revoked:${jti}`
      : `${this.#prefix}portcullis:revoked:jti:${sha256(jti)}`;
  }

  /** A token without `jti` is known by its signing input, which a respelled signature does not change. */
  revokedInput(signingInput: string): string {
    return `${this.#prefix}portcullis:revoked:input:${sha256(signingInput)}`;
  }

  subjectCutoff(subject: string): string {
    return isLiteral(subject)
      ? `${this.#prefix}auth:cutoff:${subject}`
      : `${this.#prefix}portcullis:cutoff:subject:${sha256(subject)}`;
  }

  /** The cut-off of one session, by its `sid`. */
  sessionCutoff(session: string): string {
    return `${this.#prefix}portcullis:cutoff:sid:${readable(session)}`;
  }

  /** The cut-off of an organisation. */
  groupCutoff(org: string): string {
    return `${this.#prefix}portcullis:cutoff:org:${readable(org)}`;
  }

  /** What the key of a revoked token begins with, for a `jti` that is taken literally. */
  revokedPrefix(): string {
    return `${this.#prefix}auth:revoked:`;
  }

  /** Everything about the sessions of a subject. */
  sessionsOf(principal: string): SubjectKeys {
    const name = this.identifier(principal);
    const tag = `{${this.#shard(name)}}:${name}`;
    const own = `${this.#prefix}portcullis:${version}`;
    return {
      index: `${own}:sessions:${tag}`,
      records: `${own}:session-records:${tag}`,
      ended: `${own}:sessions-ended:${tag}`,
      tokens: `${own}:session-tokens:${tag}`,
      shared: isLiteral(principal)
        ? `${this.#prefix}auth:user_tokens:${principal}`
        : `${this.#prefix}portcullis:user_tokens:${sha256(principal)}`,
    };
  }

  /** Everything about the sessions of an organisation. */
  groupOf(org: string): GroupKeys {
    const name = this.identifier(org);
    const tag = `{${this.#shard(name)}}:${name}`;
    const own = `${this.#prefix}portcullis:${version}`;
    return {
      members: `${own}:group-sessions:${tag}`,
      tokens: `${own}:group-tokens:${tag}`,
      shared: isLiteral(org)
        ? `${this.#prefix}auth:org_tokens:${org}`
        : `${this.#prefix}portcullis:org_tokens:${sha256(org)}`,
    };
  }

  /**
   * A counter; all policies of one partition key share a slot, so that one script decides about them together. Counters of
   * another algorithm or window are other keys, so that a value is never read as what it is not.
   */
  quota(policy: string, partition: string, algorithm: Algorithm = "fixed-window", windowSeconds = 0): string {
    const family = algorithm === "fixed-window" ? "quota" : `quota-${algorithm}-${windowSeconds}`;
    return this.#partitioned(family, policy, partition);
  }

  /** Where blocks of a client are kept, in the slot of its counters. */
  quotaBlock(policy: string, partition: string): string {
    return this.#partitioned("quota-block", policy, partition);
  }

  #partitioned(family: string, policy: string, partition: string): string {
    checkIdentifier(partition);
    return `${this.#prefix}portcullis:${version}:${family}:{${this.#shard(partition)}}:${policy}:${partition}`;
  }

  /** The numbers of give-backs that Redis remembers of one process, in the slot of the counters with this hash tag. */
  giveBacks(tag: string, process: string): string {
    return `${this.#prefix}portcullis:${version}:give-backs:{${tag}}:${process}`;
  }

  /** What the login throttle keeps. What belongs to one owner, an account or an address, shares a slot. */
  login(throttle: string, kind: string, owner: string, place?: string): string {
    const name = place === undefined ? `${kind}:${owner}` : `${kind}:${owner}:${place}`;
    return `${this.#prefix}portcullis:${version}:login:{${this.#shard(owner)}}:${throttle}:${name}`;
  }

  /** The failures of the last minute, which other services read. */
  failedLogins(identifier: string): string {
    return isLiteral(identifier)
      ? `${this.#prefix}auth:failed:${identifier}`
      : `${this.#prefix}portcullis:failed:${sha256(identifier)}`;
  }

  /** What operators decided about quotas. */
  quotaRules(): string {
    return `${this.#prefix}portcullis:${version}:quota-rules:{${this.#shard("quota-rules")}}`;
  }

  /** Who asks most of a policy, in even minutes and in odd ones. */
  demand(policy: string): [even: string, odd: string] {
    const key = `${this.#prefix}portcullis:${version}:quota-demand:{${this.#shard(policy)}}:${policy}`;
    return [`${key}:0`, `${key}:1`];
  }

  /** The use of a DPoP proof: its `jti` is unique for the key that signed it. */
  proof(thumbprint: string, jti: string): string {
    const name = `${this.identifier(thumbprint)}:${this.identifier(jti)}`;
    return `${this.#prefix}portcullis:${version}:proof:{${this.#shard(name)}}:${name}`;
  }

  /** The use of a logout token: its `jti` is unique for its issuer. */
  logoutToken(issuer: string, jti: string): string {
    const name = `${this.identifier(issuer)}:${this.identifier(jti)}`;
    return `${this.#prefix}portcullis:${version}:logout:{${this.#shard(name)}}:${name}`;
  }

  /** Keys by which a loss of data is noticed: one, or in a Cluster one for each of our hash tags. */
  markers(isCluster: boolean): string[] {
    const tags = isCluster ? Array.from({ length: shards }, (_, shard) => shard) : [0];
    return tags.map((tag) => `${this.#prefix}portcullis:${version}:marker:{${tag}}`);
  }

  /** What the keys of all revocations and cut-offs begin with. */
  revocationPrefixes(): string[] {
    return ["auth:revoked:", "auth:cutoff:", "portcullis:revoked:", "portcullis:cutoff:"].map(
      (family) => this.#prefix + family,
    );
  }

  /** A channel that all processes with this prefix share. */
  channel(name: string): string {
    return `${this.#prefix}portcullis:${version}:channel:${name}`;
  }

  /** A cache entry; the scope tells the view of a user or a tenant from the shared one. */
  cacheEntry(scope: string, namespace: string, key: string): string {
    const name = `${scope}:${this.identifier(key)}`;
    return `${this.#prefix}portcullis:${version}:cache:${namespace}:{${this.#shard(name)}}:${name}`;
  }

  /** What the keys of a cache namespace, and of those within it, begin with; of all namespaces without one. */
  cachePrefixes(namespace?: string): string[] {
    const family = `${this.#prefix}portcullis:${version}:cache:`;
    return namespace === undefined ? [family] : [`${family}${namespace}:`, `${family}${namespace}.`];
  }

  /** The generation of a namespace, of the view of a user or a tenant, or of a tag: `n:<namespace>`, `t:<tag>`. */
  cacheGeneration(name: string): string {
    return `${this.generationPrefix()}{${this.#shard(name)}}:${name}`;
  }

  generationPrefix(): string {
    return `${this.#prefix}portcullis:${version}:generation:`;
  }

  /** An identifier as a part of one of our own keys: without `:`, and never equal for two different identifiers. */
  identifier(text: string): string {
    checkIdentifier(text);
    return plain.test(text) ? text : this.digest(text);
  }

  /** The keyed digest of an identifier, for what must not be readable. `~` sets it apart from every plain one. */
  digest(text: string): string {
    checkIdentifier(text);
    const known = this.#digests.get(text);
    if (known !== undefined) return known;
    const hmac = createHmac("sha256", this.#secret).update(Buffer.from(text, "utf16le")).digest("base64url");
    const digest = `~${hmac.slice(0, 24)}`;
    if (text.length <= 128) this.#digests.set(text, digest);
    return digest;
  }

  /** The shard of a key (FNV-1a from a secret start). */
  #shard(text: string): number {
    let hash = this.#seed;
    for (let index = 0; index < text.length; index += 1) {
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    }
    return (hash >>> 16) % shards;
  }
}

/** Well-formed text of 1 to 512 bytes: what the shared key families take as it is. */
function isLiteral(identifier: string): boolean {
  checkIdentifier(identifier);
  return identifier.length <= 512 && identifier.isWellFormed() && Buffer.byteLength(identifier) <= 512;
}

/** A part of a key that is the same for all services, whatever their `keySecret`. */
function readable(identifier: string): string {
  checkIdentifier(identifier);
  return plain.test(identifier) ? identifier : `~${sha256(identifier)}`;
}

/** No text, or an empty one, would be one key for everybody who has none. */
function checkIdentifier(identifier: unknown): void {
  if (typeof identifier !== "string" || identifier === "") throw new TypeError("an identifier is a non-empty string");
}

/** By UTF-16 code units, so that ill-formed texts differ too. */
function sha256(text: string): string {
  checkIdentifier(text);
  return createHash("sha256").update(Buffer.from(text, "utf16le")).digest("hex");
}
