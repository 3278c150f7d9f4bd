import { createHash, createHmac } from "node:crypto";
import { LRUCache } from "lru-cache";
import { IssuerScope, checkIdentifier, subjectOfName } from "../auth/issuer-scope.js";
import { sharedChannels } from "./ports/channels.js";
import type { Algorithm } from "./ports/decisions.js";
import { StoreFault } from "./ports/decisions.js";
import type { GroupKeys, SubjectKeys } from "./ports/sessions.js";

/** Version of our own keys and values: old and new releases read each other's during a rolling deploy. */
const version = 2;

/** Our keys spread over this many hash tags: enough to balance a cluster, few enough to batch well. */
const shards = 64;

const plain = /^[A-Za-z0-9_.-]{1,64}$/;

/** How long a key that all processes share, such as the overrides of limits, outlives the last process. Each use renews it. */
export const sharedKeyMs: number = 30 * 86_400_000;

/** Are the `auth:` keys that services share those of this gate's issuer? */
export interface SharedKeys {
  /** Undefined while nobody knows. */
  readonly areOurs: boolean | undefined;
  /** Is that an assumption, which the next look may correct? Keys that rest on it must be made anew each time. */
  readonly isPresumed: boolean;
  /** Resolves when it is known, or when nobody can tell now; undefined where it is known already. */
  settled(): Promise<void> | undefined;
}

/** What keys say besides the identifier they are for. */
export interface KeyOwners {
  /** @default one issuer, that nobody names */
  readonly issuers?: IssuerScope | undefined;
  /** The service whose caches these are, as store/service-name.ts has it for keys. @default "default" */
  readonly service?: string | undefined;
  /** @default this gate's */
  readonly shared?: SharedKeys | undefined;
}

/**
 * The one place that turns identifiers into key text.
 *
 * Every identifier belongs to an issuer ({@link IssuerScope}), and so does every key: two issuers' users of one name never
 * meet. The shared `auth:` families, which know no issuer, belong to one issuer of a Redis; they take its identifiers
 * literally, as the other services write them. Caches belong to one service besides.
 *
 * Our own keys take a short, plain identifier literally and any other as a keyed digest (HMAC-SHA-256, RFC 2104), so that two
 * identifiers never meet in one key, e-mail and IP addresses are not readable in Redis, and no user text chooses the slot.
 */
export class Keyspace {
  readonly issuers: IssuerScope;
  readonly #prefix: string;
  readonly #secret: string;
  readonly #service: string;
  readonly #shared: SharedKeys;
  readonly #seed: number;
  readonly #digests = new LRUCache<string, string>({ max: 5000 });

  constructor(prefix: string, secret: string, owners: KeyOwners = {}) {
    const { issuers = new IssuerScope(), service = "default", shared = ourOwn } = owners;
    if (!/^~?[A-Za-z0-9_.-]{1,64}$/.test(service)) throw new TypeError("a service is a short, plain text, or a digest");
    this.issuers = issuers;
    this.#prefix = prefix;
    this.#secret = secret;
    this.#service = service;
    this.#shared = shared;
    this.#seed = createHmac("sha256", secret).update("shard").digest().readUInt32LE();
  }

  /**
   * Wait for it before a key of a family that may be shared is made: resolves when it is known whose these are, or when
   * nobody can tell now; undefined where it is known. Whoever makes such a key all the same gets a StoreFault.
   */
  settled(): Promise<void> | undefined {
    return this.#shared.settled();
  }

  /** May keys of a family that may be shared be others tomorrow? */
  get isPresumed(): boolean {
    return this.#shared.isPresumed;
  }

  /** The same while nobody knows whose the shared keys are, as if they were ours: to try what Redis permits. */
  presumed(): Keyspace {
    const shared = { ...ourOwn, areOurs: this.#shared.areOurs ?? true };
    return new Keyspace(this.#prefix, this.#secret, { issuers: this.issuers, service: this.#service, shared });
  }

  /** Where it is kept which issuer has the shared `auth:` keys. */
  sharedIssuer(): string {
    return this.#own("shared-issuer");
  }

  revokedToken(jti: string): string {
    const { issuer, name } = this.issuers.parse(jti);
    return this.#family("auth:revoked", "revoked:jti", issuer, name, name);
  }

  /**
   * A token without `jti` is known by its signing input, which a respelled signature does not change. The issuer is that whose
   * key has verified it: the claim in it may be anybody's, where a gate names no issuer.
   */
  revokedInput(signingInput: string, issuer?: string): string {
    return this.#own(`revoked:input:${this.issuers.digestFor(issuer)}:${sha256(signingInput)}`);
  }

  subjectCutoff(subject: string): string {
    const { issuer, name } = this.issuers.parse(subject);
    return this.#family("auth:cutoff", "cutoff:subject", issuer, name, subjectOfName(name));
  }

  /** The cut-off of one session, by its `sid`. */
  sessionCutoff(session: string): string {
    const { issuer, name } = this.issuers.parse(session);
    return this.#own(`cutoff:sid:${issuer}:${readable(name)}`);
  }

  /** The cut-off of an organisation. */
  groupCutoff(org: string): string {
    const { issuer, name } = this.issuers.parse(org);
    return this.#own(`cutoff:org:${issuer}:${readable(name)}`);
  }

  /** Everything about the sessions of a subject. */
  sessionsOf(principal: string): SubjectKeys {
    const { issuer, name } = this.issuers.parse(principal);
    const tagged = this.#tagged(issuer, name);
    return {
      index: this.#own(`sessions:${tagged}`),
      records: this.#own(`session-records:${tagged}`),
      ended: this.#own(`sessions-ended:${tagged}`),
      tokens: this.#own(`session-tokens:${tagged}`),
      shared: this.#family("auth:user_tokens", "user_tokens", issuer, name, subjectOfName(name)),
      revoked: this.#revokedPrefix(issuer),
    };
  }

  /** Everything about the sessions of an organisation. */
  groupOf(org: string): GroupKeys {
    const { issuer, name } = this.issuers.parse(org);
    const tagged = this.#tagged(issuer, name);
    return {
      members: this.#own(`group-sessions:${tagged}`),
      tokens: this.#own(`group-tokens:${tagged}`),
      shared: this.#family("auth:org_tokens", "org_tokens", issuer, name, name),
      revoked: this.#revokedPrefix(issuer),
    };
  }

  /**
   * A user, or somebody else who is named with an issuer, as a part of our keys. The issuers are those of the gate that has
   * verified the token, which may be another: a bare name is one of its users.
   */
  holder(identifier: string, issuers: IssuerScope = this.issuers): string {
    const { issuer, name } = issuers.parse(identifier);
    return `${issuer}:${this.identifier(name)}`;
  }

  /** Whom a limit counts, as part of its key: a user. */
  userPartition(principal: string): string {
    return `u:${this.holder(principal)}`;
  }

  /** All whose token of an issuer has this value in a claim; the issuers are those of the gate that has verified it. */
  claimPartition(issuer: string, claim: string, value: string, issuers: IssuerScope = this.issuers): string {
    return `c:${issuers.digestFor(issuer)}:${this.digestOf(claim, value)}`;
  }

  /** A client by its address, in its one spelling. */
  addressPartition(address: string): string {
    return `a:${this.issuers.home}:${this.digest(address)}`;
  }

  /** All who send this value in a header. */
  headerPartition(header: string, value: string): string {
    return `h:${this.issuers.home}:${this.digestOf(header.toLowerCase(), value)}`;
  }

  /** What the key function of a policy returned. */
  customPartition(key: string): string {
    return `k:${this.issuers.home}:${this.identifier(key)}`;
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
    return this.#own(`${family}:{${this.#shard(partition)}}:${policy}:${partition}`);
  }

  /** The numbers of give-backs that Redis remembers of one process, in the slot of the counters with this hash tag. */
  giveBacks(tag: string, process: string): string {
    return this.#own(`give-backs:{${tag}}:${process}`);
  }

  /** What the login throttle keeps. What belongs to one owner, an account or an address, shares a slot. */
  login(throttle: string, kind: string, owner: string, place?: string): string {
    const name = place === undefined ? `${kind}:${owner}` : `${kind}:${owner}:${place}`;
    return this.#own(`login:{${this.#shard(owner)}}:${this.issuers.home}:${throttle}:${name}`);
  }

  /** The failures of the last minute, which other services read. */
  failedLogins(identifier: string): string {
    const { home } = this.issuers;
    // While nobody knows whose they are, a count of a minute may be missing in them.
    return this.#shared.areOurs === undefined
      ? this.#own(`failed:${home}:${readable(identifier)}`)
      : this.#family("auth:failed", "failed", home, identifier, identifier);
  }

  /** What operators decided about quotas. */
  quotaRules(): string {
    return this.#own(`quota-rules:{${this.#shard("quota-rules")}}:${this.issuers.home}`);
  }

  /** Who asks most of a policy, in even minutes and in odd ones. */
  demand(policy: string): [even: string, odd: string] {
    const key = this.#own(`quota-demand:{${this.#shard(policy)}}:${this.issuers.home}:${policy}`);
    return [`${key}:0`, `${key}:1`];
  }

  /** The use of a DPoP proof: its `jti` is unique for the key that signed it. */
  proof(thumbprint: string, jti: string): string {
    const name = `${this.issuers.home}:${this.identifier(thumbprint)}:${this.identifier(jti)}`;
    return this.#own(`proof:{${this.#shard(name)}}:${name}`);
  }

  /** The use of a logout token: its `jti` is unique for its issuer. */
  logoutToken(issuer: string, jti: string): string {
    const name = `${this.issuers.digestFor(issuer)}:${this.identifier(jti)}`;
    return this.#own(`logout:{${this.#shard(name)}}:${name}`);
  }

  /** Keys by which a loss of data is noticed: one, or in a Cluster one for each of our hash tags. */
  markers(isCluster: boolean): string[] {
    const tags = isCluster ? Array.from({ length: shards }, (_, shard) => shard) : [0];
    return tags.map((tag) => this.#own(`marker:{${tag}}`));
  }

  /** What the keys of all revocations and cut-offs begin with. */
  revocationPrefixes(): string[] {
    const families = ["auth:revoked:", "auth:cutoff:"].map((family) => this.#prefix + family);
    return [...families, this.#own("revoked:"), this.#own("cutoff:")];
  }

  /** A channel: of all processes with this prefix, or of those of this service. */
  channel(name: string): string {
    return this.#own(sharedChannels.has(name) ? `channel:${name}` : `channel:${this.#service}:${name}`);
  }

  /** A cache entry; the scope tells the view of a user or a tenant from the shared one. */
  cacheEntry(scope: string, namespace: string, key: string): string {
    const name = `${scope}:${this.identifier(key)}`;
    return this.#own(`cache:${this.#service}:${namespace}:{${this.#shard(name)}}:${name}`);
  }

  static isCacheEntry(key: string): boolean {
    return key.includes(entryFamily);
  }

  /** The key of the lease on a cache entry: in the slot of the entry, and under no prefix of {@link cachePrefixes}. */
  static cacheLease(entry: string): string {
    const { prefix, rest } = splitEntry(entry);
    return `${prefix}making:${rest}`;
  }

  /** Where it is noted that an owner no longer wants the lease on a cache entry: an owner asks for one lease only. */
  static cacheWithdrawal(entry: string, owner: string): string {
    const { prefix, rest } = splitEntry(entry);
    return `${prefix}withdrawn:${rest.slice(0, rest.indexOf("}") + 1)}:${owner}`;
  }

  /** What the keys of a cache namespace, and of those within it, begin with; of all namespaces without one. */
  cachePrefixes(namespace?: string): string[] {
    const family = this.#own(`cache:${this.#service}:`);
    return namespace === undefined ? [family] : [`${family}${namespace}:`, `${family}${namespace}.`];
  }

  /** The generation of a namespace, of the view of a user or a tenant, or of a tag: `n:<namespace>`, `t:<tag>`. */
  cacheGeneration(name: string): string {
    return `${this.generationPrefix()}{${this.#shard(name)}}:${name}`;
  }

  generationPrefix(): string {
    return this.#own(`generation:${this.#service}:`);
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

  /** The keyed digest of several texts, which no other texts have: each is told with its length. */
  digestOf(...parts: readonly string[]): string {
    let text = "";
    for (const part of parts) {
      checkIdentifier(part);
      text += `${part.length}:${part}`;
    }
    return this.digest(text);
  }

  #own(rest: string): string {
    return this.#prefix + ownFamilies + rest;
  }

  /**
   * A key of a shared family, literal for the issuer that these belong to; of another's it is one of our own. So is that of a
   * name which other services do not know: its literal is undefined.
   */
  #family(shared: string, own: string, issuer: string, name: string, literal: string | undefined): string {
    return literal !== undefined && this.#areShared(issuer) && isLiteral(literal)
      ? `${this.#prefix}${shared}:${literal}`
      : this.#own(`${own}:${issuer}:${readable(name)}`);
  }

  /** What the key of a revoked token of this issuer begins with, for a `jti` that is taken literally. */
  #revokedPrefix(issuer: string): string {
    return this.#areShared(issuer) ? `${this.#prefix}auth:revoked:` : this.#own(`revoked:jti:${issuer}:`);
  }

  /** A StoreFault while nobody knows: the wrong key would say that a token is not revoked. */
  #areShared(issuer: string): boolean {
    if (issuer !== this.issuers.sharing) return false;
    const { areOurs } = this.#shared;
    if (areOurs === undefined) throw new StoreFault("unreachable");
    return areOurs;
  }

  /** A name of an issuer, with the hash tag by which all keys of it share a slot. */
  #tagged(issuer: string, name: string): string {
    const holder = `${issuer}:${this.identifier(name)}`;
    return `{${this.#shard(holder)}}:${holder}`;
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

const ourOwn: SharedKeys = { areOurs: true, isPresumed: false, settled: () => undefined };

/** Well-formed text of 1 to 512 bytes: what the shared key families take as it is. */
function isLiteral(identifier: string): boolean {
  checkIdentifier(identifier);
  return identifier.length <= 512 && identifier.isWellFormed() && Buffer.byteLength(identifier) <= 512;
}

const ownFamilies = `portcullis:${version}:`;
const entryFamily = `${ownFamilies}cache:`;

/** A cache entry's key, without its family. Throws for any other key: a lease must never have the key of a value. */
function splitEntry(entry: string): { prefix: string; rest: string } {
  const at = entry.lastIndexOf(entryFamily);
  if (at === -1) throw new TypeError("only a cache entry has a lease");
  return { prefix: entry.slice(0, at) + ownFamilies, rest: entry.slice(at + entryFamily.length) };
}

/** A part of a key that is the same for all services, whatever their `keySecret`. */
function readable(identifier: string): string {
  checkIdentifier(identifier);
  return plain.test(identifier) ? identifier : `~${sha256(identifier)}`;
}

/** By UTF-16 code units, so that ill-formed texts differ too. */
function sha256(text: string): string {
  checkIdentifier(text);
  return createHash("sha256").update(Buffer.from(text, "utf16le")).digest("hex");
}
