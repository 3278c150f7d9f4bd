import type { SharedKeys } from "./shared-issuer.js";
import { ourOwn } from "./shared-issuer.js";
import { createHmac } from "node:crypto";
import { GrowingLru } from "../lib/growing-lru.js";
import { IssuerScope, checkIdentifier, subjectOfName } from "../auth/issuer-scope.js";
import { sharedChannels } from "./ports/channels.js";
import type { Algorithm } from "./ports/decisions.js";
import { StoreFault } from "./ports/fault.js";
import type { GroupKeys, SubjectKeys } from "./ports/sessions.js";
import { hashOn, isLiteral, plain, readable, sha256, shardOf, shards } from "./key-text.js";

/** Version of our own keys and values: old and new releases read each other's during a rolling deploy. */
const version = 2;

/**
 * How long a key that all processes share, such as the overrides of limits or a generation, outlives the last process.
 * Each use renews it.
 */
export const sharedKeyMs: number = 30 * 86_400_000;

type CoordinationFamily = "lock" | "leader" | "idempotency" | "one-time" | "event-log" | "socket.io";

/** The parts of keys besides the identifier. */
export interface KeyOwners {
  /** @default one issuer without a name */
  readonly issuers?: IssuerScope | undefined;
  /** The service that the caches belong to, in the form of store/service-name.ts. @default "default" */
  readonly service?: string | undefined;
  /** @default the shared keys belong to this gate */
  readonly shared?: SharedKeys | undefined;
}

/**
 * Turns identifiers into the text of keys and channels. No other code does.
 *
 * Every identifier belongs to an issuer ({@link IssuerScope}), and so does every key: users of two issuers never share
 * a key, even with the same name. The shared `auth:` families do not contain an issuer. They belong to one issuer of a
 * Redis and contain its identifiers literally, as other services write them. Keys of caches also contain the service.
 *
 * Keys of Portcullis contain a short, plain identifier literally, and any other as a keyed digest (HMAC-SHA-256, RFC
 * 2104). So two identifiers never share a key, e-mail and IP addresses are not readable in Redis, and no user text
 * chooses the hash slot.
 */
export class Keyspace {
  readonly issuers: IssuerScope;
  readonly #prefix: string;
  readonly #secret: string;
  readonly #service: string;
  readonly #shared: SharedKeys;
  /** Is the owner of the shared keys known for good? */
  #areKnown = false;
  readonly #seed: number;
  readonly #digests = new GrowingLru<string, string>({ max: 5000 });

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
   * Must be awaited before a key of a shared family is made. Resolves when the owner of these keys is known, or cannot
   * be found out now; undefined if it is known already. Rejects with a StoreFault if too many calls wait, unless
   * no request waits for this one ("background"). While the owner is unknown, making such a key throws a StoreFault.
   */
  resolved(whose?: "background"): Promise<void> | undefined {
    if (this.#areKnown) return undefined;
    this.#areKnown = this.#shared.areOurs !== undefined && !this.#shared.isPresumed;
    return this.#shared.resolved(whose);
  }

  /** May keys of shared families change later? */
  get isPresumed(): boolean {
    return this.#shared.isPresumed;
  }

  /** A keyspace that owns the shared keys while their owner is unknown: to test the permissions in Redis. */
  presumed(): Keyspace {
    const shared = { ...ourOwn, areOurs: this.#shared.areOurs ?? true };
    return new Keyspace(this.#prefix, this.#secret, { issuers: this.issuers, service: this.#service, shared });
  }

  /** The marker of the issuer that owns the shared `auth:` keys. */
  sharedIssuer(): string {
    return this.#own("shared-issuer");
  }

  revokedToken(jti: string): string {
    const { issuer, name } = this.issuers.parse(jti);
    return this.#family("auth:revoked", "revoked:jti", issuer, name, name);
  }

  /**
   * The record of a token without `jti`, named by its signing input: another spelling of the signature does not change
   * that. The issuer is the one whose key has verified the token, since the claim `iss` proves nothing where a gate
   * names no issuer.
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

  /** All keys about the sessions of a subject. */
  sessionsOf(principal: string): SubjectKeys {
    const { issuer, name } = this.issuers.parse(principal);
    const tagged = this.#tagged(issuer, name);
    const tag = tagged.slice(0, tagged.indexOf("}") + 1);
    return {
      name,
      live: this.#own(`live-sessions:${tag}:${issuer}`),
      index: this.#own(`sessions:${tagged}`),
      records: this.#own(`session-records:${tagged}`),
      ended: this.#own(`sessions-ended:${tagged}`),
      tokens: this.#own(`session-tokens:${tagged}`),
      shared: this.#family("auth:user_tokens", "user_tokens", issuer, name, subjectOfName(name)),
      revoked: this.#revokedPrefix(issuer),
    };
  }

  /** The live sessions of an issuer, by the digest of the issuer: one key for each hash tag. */
  liveSessions(issuer: string): string[] {
    return Array.from({ length: shards }, (_, shard) => this.#own(`live-sessions:{${shard}}:${issuer}`));
  }

  /** All keys about the sessions of an organisation. */
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

  /** An identifier with its issuer, as a part of keys. `issuers` are those of the gate that has verified the token. */
  holder(identifier: string, issuers: IssuerScope = this.issuers): string {
    const { issuer, name } = issuers.parse(identifier);
    return `${issuer}:${this.identifier(name)}`;
  }

  /** The partition of a limit: a user. */
  userPartition(principal: string): string {
    return `u:${this.holder(principal)}`;
  }

  /** The partition of all tokens of an issuer with this value of a claim. `issuers` are those of the verifying gate. */
  claimPartition(issuer: string, claim: string, value: string, issuers: IssuerScope = this.issuers): string {
    return `c:${issuers.digestFor(issuer)}:${this.digestOf(claim, value)}`;
  }

  /** The partition of a client address, in its canonical spelling. */
  addressPartition(address: string): string {
    return `a:${this.issuers.home}:${this.digest(address)}`;
  }

  /** The partition of all requests with this value of a header. */
  headerPartition(header: string, value: string): string {
    return `h:${this.issuers.home}:${this.digestOf(header.toLowerCase(), value)}`;
  }

  /** The partition that the key function of a policy has returned. */
  customPartition(key: string): string {
    return `k:${this.issuers.home}:${this.identifier(key)}`;
  }

  /**
   * The counter of a policy. All policies of one partition share a hash slot, so that one script decides about them.
   * Another algorithm or window has another key, so that no value is read in the wrong format.
   */
  quota(policy: string, partition: string, algorithm: Algorithm = "fixed-window", windowSeconds = 0): string {
    const family = algorithm === "fixed-window" ? "quota" : `quota-${algorithm}-${windowSeconds}`;
    return this.#partitioned(family, policy, partition);
  }

  /** The block of a client, in the hash slot of its counters. */
  quotaBlock(policy: string, partition: string): string {
    return this.#partitioned("quota-block", policy, partition);
  }

  #partitioned(family: string, policy: string, partition: string): string {
    checkIdentifier(partition);
    return this.#own(`${family}:{${this.#shard(partition)}}:${policy}:${partition}`);
  }

  /** The numbers of the give-backs of one process, in the hash slot of this tag. */
  giveBacks(tag: string, process: string): string {
    return this.#own(`give-backs:{${tag}}:${process}`);
  }

  /** A key of the login throttle. All keys of one owner, an account or an address, share a hash slot. */
  login(throttle: string, kind: string, owner: string, place?: string): string {
    const name = place === undefined ? `${kind}:${owner}` : `${kind}:${owner}:${place}`;
    return this.#own(`login:{${this.#shard(owner)}}:${this.issuers.home}:${throttle}:${name}`);
  }

  /** The failed logins of the last minute, which other services read. */
  failedLogins(identifier: string): string {
    const { home } = this.issuers;
    // While the owner of the shared keys is unknown, the count of a minute may be missing there.
    return this.#shared.areOurs === undefined
      ? this.#own(`failed:${home}:${readable(identifier)}`)
      : this.#family("auth:failed", "failed", home, identifier, identifier);
  }

  /** The overrides of limits by operators. */
  limitOverrides(): string {
    return this.#own(`quota-rules:{${this.#shard("quota-rules")}}:${this.issuers.home}`);
  }

  /** The top keys of a policy, of even and of odd minutes. */
  topKeys(policy: string): [even: string, odd: string] {
    const key = this.#own(`quota-demand:{${this.#shard(policy)}}:${this.issuers.home}:${policy}`);
    return [`${key}:0`, `${key}:1`];
  }

  /** The replay record of a DPoP proof: its `jti` is unique for the key that has signed it. */
  proof(thumbprint: string, jti: string): string {
    const name = `${this.issuers.home}:${this.identifier(thumbprint)}:${this.identifier(jti)}`;
    return this.#own(`proof:{${this.#shard(name)}}:${name}`);
  }

  /** The replay record of a logout token: its `jti` is unique for its issuer. */
  logoutToken(issuer: string, jti: string): string {
    const name = `${this.issuers.digestFor(issuer)}:${this.identifier(jti)}`;
    return this.#own(`logout:{${this.#shard(name)}}:${name}`);
  }

  /** The markers that show a loss of data: one, or in a Cluster one for each hash tag. */
  markers(isCluster: boolean): string[] {
    const tags = isCluster ? Array.from({ length: shards }, (_, shard) => shard) : [0];
    return tags.map((tag) => this.#own(`marker:{${tag}}`));
  }

  /** The prefixes of all revocations and cut-offs. */
  revocationPrefixes(): string[] {
    const families = ["auth:revoked:", "auth:cutoff:"].map((family) => this.#prefix + family);
    return [...families, this.#own("revoked:"), this.#own("cutoff:")];
  }

  /** The name of a channel in Redis: of all processes with this prefix, or of those of this service. */
  channel(name: string): string {
    return this.#own(sharedChannels.has(name) ? `channel:${name}` : `channel:${this.#service}:${name}`);
  }

  /** A key of coordination between the processes of this service. All keys of one name and family share a hash slot. */
  coordination(family: CoordinationFamily, name: string, part?: string): string {
    const identifier = this.identifier(name);
    const key = `${family}:${this.#service}:{${this.#shard(`${family}:${identifier}`)}}:${identifier}`;
    return this.#own(part === undefined ? key : `${key}:${part}`);
  }

  /** A cache entry. The scope separates the views of a user, of a tenant, and of everybody. */
  cacheEntry(scope: string, namespace: string, key: string): string {
    return this.cacheEntries(scope, namespace)(key);
  }

  /** The keys of all entries of a scope and a namespace. A read makes one, so their common parts are made once. */
  cacheEntries(scope: string, namespace: string): (key: string) => string {
    const prefix = this.#own(`cache:${this.#service}:${namespace}:{`);
    const start = hashOn(this.#seed, `${scope}:`);
    return (key) => {
      const name = this.identifier(key);
      return `${prefix}${shardOf(hashOn(start, name))}}:${scope}:${name}`;
    };
  }

  static isCacheEntry(key: string): boolean {
    return key.includes(entryFamily);
  }

  /** The key of the lease on a cache entry: in the slot of the entry, and under no prefix of {@link cachePrefixes}. */
  static cacheLease(entry: string): string {
    const { prefix, rest } = splitEntry(entry);
    return `${prefix}making:${rest}`;
  }

  /** The note that an owner no longer wants the lease on a cache entry. An owner asks for one lease only. */
  static cacheWithdrawal(entry: string, owner: string): string {
    const { prefix, rest } = splitEntry(entry);
    return `${prefix}withdrawn:${rest.slice(0, rest.indexOf("}") + 1)}:${owner}`;
  }

  /** The prefixes of a cache namespace and of the namespaces within it; without a namespace, of all. */
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

  /** An identifier as a part of a key: without `:`, and different for different identifiers. */
  identifier(text: string): string {
    checkIdentifier(text);
    return plain.test(text) ? text : this.digest(text);
  }

  /** The keyed digest of an identifier that must not be readable. No plain identifier begins with `~`. */
  digest(text: string): string {
    checkIdentifier(text);
    const known = this.#digests.get(text);
    if (known !== undefined) return known;
    const hmac = createHmac("sha256", this.#secret).update(Buffer.from(text, "utf16le")).digest("base64url");
    const digest = `~${hmac.slice(0, 24)}`;
    if (text.length <= 128) this.#digests.set(text, digest);
    return digest;
  }

  /** The keyed digest of several texts. Each is preceded by its length, so that no other texts have this digest. */
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

  /** A key of a shared family if the issuer owns the family and other services know the name; else a key of our own. */
  #family(shared: string, own: string, issuer: string, name: string, literal: string | undefined): string {
    return literal !== undefined && this.#areShared(issuer) && isLiteral(literal)
      ? `${this.#prefix}${shared}:${literal}`
      : this.#own(`${own}:${issuer}:${readable(name)}`);
  }

  /** The prefix of the records of this issuer's revoked tokens, for a `jti` that is taken literally. */
  #revokedPrefix(issuer: string): string {
    return this.#areShared(issuer) ? `${this.#prefix}auth:revoked:` : this.#own(`revoked:jti:${issuer}:`);
  }

  /** Throws a StoreFault while the owner is unknown: under the wrong key a token would seem not to be revoked. */
  #areShared(issuer: string): boolean {
    if (issuer !== this.issuers.sharing) return false;
    const { areOurs } = this.#shared;
    if (areOurs === undefined) throw new StoreFault("unreachable");
    return areOurs;
  }

  /** A name with its issuer, and the hash tag that all its keys share. */
  #tagged(issuer: string, name: string): string {
    const holder = `${issuer}:${this.identifier(name)}`;
    return `{${this.#shard(holder)}}:${holder}`;
  }

  /** The shard of a key, by a hash from a secret start. */
  #shard(text: string): number {
    return shardOf(hashOn(this.#seed, text));
  }
}

const ownFamilies = `portcullis:${version}:`;
const entryFamily = `${ownFamilies}cache:`;

/** A cache entry's key, without its family. Throws for any other key: a lease must never have the key of a value. */
function splitEntry(entry: string): { prefix: string; rest: string } {
  const at = entry.lastIndexOf(entryFamily);
  if (at === -1) throw new TypeError("only a cache entry has a lease");
  return { prefix: entry.slice(0, at) + ownFamilies, rest: entry.slice(at + entryFamily.length) };
}
