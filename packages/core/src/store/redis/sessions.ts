import type { Keyspace } from "../keys.js";
import type {
  Created,
  Creation,
  GroupKeys,
  LiveToken,
  Membership,
  Moment,
  Rotated,
  Rotation,
  Selection,
  SessionRecord,
  SessionStore,
  StoredSession,
  SubjectKeys,
  TrackedTokens,
} from "../session-store.js";
import { StoreFault } from "../ports.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./deadline.js";
import { revokeScript } from "./scripts/revoke.js";
import type { Script } from "./scripts/script.js";
import { runScript } from "./scripts/script.js";
import {
  createSessionScript,
  endSessionsScript,
  listSessionsScript,
  momentScript,
  removeSessionsScript,
  rotateSessionScript,
} from "./scripts/sessions.js";
import { endGroupScript, joinTokensScript, listMembersScript, noteTokensScript } from "./scripts/tracked-tokens.js";

export interface RedisSessionStoreOptions {
  readonly connection: Connection;
  readonly keys: Keyspace;
  readonly deadlineMs: number;
  /** How long a revocation outlives its token. */
  readonly marginSeconds: number;
  /** How long a token lives at most. */
  readonly longestSeconds: number;
}

/** Ending a thousand sessions takes longer than a question of a request. */
const bulkMs = 2000;

/** Sessions in Redis: what concerns one subject is one script, as far as one slot goes. */
export class RedisSessionStore implements SessionStore {
  readonly #options: RedisSessionStoreOptions;
  readonly #isCluster: boolean;

  constructor(options: RedisSessionStoreOptions) {
    this.#options = options;
    this.#isCluster = options.connection.isCluster;
  }

  /** In a Cluster each key has a clock of its own: the earliest counts, so that no cut-off is missed. */
  async moment(cutoffKeys: readonly string[]): Promise<Moment> {
    const groups = this.#isCluster ? cutoffKeys.map((key) => [key]) : [cutoffKeys];
    const replies = await this.#within(() => Promise.all(groups.map((keys) => this.#run(momentScript, keys, []))));
    const values = replies.flatMap(([, ...cutoffs]) => cutoffs);
    return { ms: Math.min(...replies.map(([ms]) => Number(ms))), cutoffs: values.map(readCutoff) };
  }

  async create(keys: SubjectKeys, creation: Creation): Promise<Created> {
    const { id, record, notAfter, cutoff, maxSessions, onLimit } = creation;
    const [outcome, ...rest] = await this.#subject(
      createSessionScript,
      keys,
      [keys.ended],
      [
        ...[id, JSON.stringify(record), record.issuedAt, record.idleEndsAt, notAfter, cutoff ?? ""],
        ...[maxSessions ?? 0, onLimit === "evictOldest" ? 1 : 0],
      ],
    );
    if (outcome === "behind") return { outcome, ended: Number(rest[0]) };
    if (outcome === "full" || outcome === "late") return { outcome };
    return { outcome: "created", evicted: await this.#finish(keys, rest as string[]) };
  }

  async rotate(keys: SubjectKeys, rotation: Rotation): Promise<Rotated> {
    const { id, presented, generation, successor, access, issuedAt, accessSeconds } = rotation;
    const { idleMs, overlapMs, maxAccess, notAfter, changes } = rotation;
    const [outcome, ...rest] = await this.#subject(
      rotateSessionScript,
      keys,
      [],
      [
        ...[id, presented, generation, successor, access, issuedAt, accessSeconds],
        ...[idleMs, overlapMs, maxAccess, notAfter, JSON.stringify(changes)],
      ],
    );
    if (outcome === "missing" || outcome === "late") return { outcome };
    if (outcome === "reused" || outcome === "over") {
      await this.#finish(keys, rest as string[]);
      return { outcome: outcome === "over" ? "missing" : outcome };
    }
    const [text, ...pairs] = rest as string[];
    const surplus = pairsOf(pairs).map(([jti, expiresAt]) => ({ jti, expiresAt: Number(expiresAt) }));
    if (this.#isCluster && surplus.length > 0) await this.#within(() => this.#revoke(surplus));
    return {
      outcome: outcome === "rotated" ? "rotated" : "repeated",
      record: readRecord(text),
      surplus: surplus.map(({ jti }) => jti),
    };
  }

  async list({ index, records }: SubjectKeys, offset: number, count: number): Promise<StoredSession[]> {
    const reply = await this.#within(() => this.#run(listSessionsScript, [index, records], [offset, count]));
    return readSessions(reply as string[]);
  }

  async ids({ records }: SubjectKeys): Promise<string[]> {
    const { client } = this.#options.connection;
    return (await this.#within(() => client.call("HKEYS", records))) as string[];
  }

  async end(keys: SubjectKeys, selection: Selection): Promise<string[]> {
    const { kind } = selection;
    const spared = (kind === "except" ? selection.jti : undefined) ?? "";
    const which = kind === "all" ? selection.endedAt : selection.id;
    const reply = await this.#subject(
      endSessionsScript,
      keys,
      [keys.ended, keys.tokens],
      [kind, which, spared],
      bulkMs,
    );
    const ended = await this.#finish(keys, reply as string[]);
    if (this.#isCluster && kind !== "only") {
      const kept = kind === "except" ? [spared, ...(await this.#tokensOf(keys, selection.id))] : [];
      await this.#within(() => this.#endShared(keys, kept), bulkMs);
    }
    return ended;
  }

  async trackSubject({ tokens, shared }: SubjectKeys, tracked: TrackedTokens): Promise<void> {
    await this.#track([tokens], shared, tracked, []);
  }

  async trackGroup(keys: GroupKeys, tracked: TrackedTokens, member: Membership, endsAt: number): Promise<void> {
    const name = `${member.id} ${member.principal}`;
    await this.#track([keys.tokens, keys.members], keys.shared, tracked, [name, endsAt]);
  }

  async endGroup({ members, tokens, shared }: GroupKeys): Promise<Membership[]> {
    const { marginSeconds, longestSeconds, keys } = this.#options;
    if (!this.#isCluster) {
      const args = [keys.revokedPrefix(), marginSeconds, longestSeconds];
      const names = await this.#within(() => this.#run(endGroupScript, [shared, tokens, members], args), bulkMs);
      return (names as string[]).map(readMember);
    }
    await this.#within(() => this.#endShared({ tokens, shared }, []), bulkMs);
    const names = await this.#within(() => this.#run(listMembersScript, [members], []));
    return (names as string[]).map(readMember);
  }

  /** Adds first to what other services read, so that no token is handed out that they do not know. */
  async #track(
    notes: readonly string[],
    shared: string,
    { add, drop }: TrackedTokens,
    member: readonly (string | number)[],
  ): Promise<void> {
    const { marginSeconds, longestSeconds } = this.#options;
    const pairs = add.flatMap(({ jti, expiresAt }) => [jti, expiresAt]);
    const noted = [...member, marginSeconds, add.length, ...pairs, ...drop];
    const dead = (await this.#within(() => this.#run(noteTokensScript, notes, noted))) as string[];
    const latest = Math.max(0, ...add.map(({ expiresAt }) => Math.ceil(expiresAt) + marginSeconds));
    const joined = [latest, longestSeconds + marginSeconds, add.length, ...add.map(({ jti }) => jti), ...drop, ...dead];
    await this.#within(() => this.#run(joinTokensScript, [shared], joined));
  }

  /** Runs a script about one subject, with what all of them need to know. */
  async #subject(
    script: Script,
    { index, records, shared }: SubjectKeys,
    moreKeys: readonly string[],
    args: readonly (string | number)[],
    ms: number = this.#options.deadlineMs,
  ): Promise<(string | number)[]> {
    const { keys, marginSeconds, longestSeconds } = this.#options;
    const common = [this.#isCluster ? 0 : 1, keys.revokedPrefix(), marginSeconds, longestSeconds, shared];
    return this.#within(() => this.#run(script, [index, records, ...moreKeys], [...common, ...args]), ms);
  }

  /** The ids of ended sessions. In a Cluster what the script could not do to their tokens, in the slots of those, is done first. */
  async #finish({ index, records, shared }: SubjectKeys, pairs: readonly string[]): Promise<string[]> {
    const ids = pairsOf(pairs).map(([id]) => id);
    if (!this.#isCluster || ids.length === 0) return ids;
    const sessions = readSessions(pairs);
    const { client } = this.#options.connection;
    await this.#within(async () => {
      await this.#revoke(sessions.flatMap(({ record }) => record.access));
      await Promise.all(
        sessions.flatMap(({ record }) => {
          const names = tokensOfRecord(record).map(({ jti }) => jti);
          const sets = record.orgTokens === undefined ? [shared] : [shared, record.orgTokens];
          return sets.map((set) => client.call("SREM", set, ...names).catch(ignoreWrongType));
        }),
      );
      await this.#run(removeSessionsScript, [index, records], ids);
    }, bulkMs);
    return ids;
  }

  /** In a Cluster: revokes what a shared set names. */
  async #endShared({ tokens, shared }: Pick<SubjectKeys, "tokens" | "shared">, kept: readonly string[]): Promise<void> {
    const { client } = this.#options.connection;
    const members = (await client.call("SMEMBERS", shared).catch(ignoreWrongType)) as string[] | undefined;
    const doomed = (members ?? []).filter((jti) => !kept.includes(jti));
    if (doomed.length === 0) return;
    const known = (await client.call("ZMSCORE", tokens, ...doomed)) as (string | number | null)[];
    const latest = Date.now() / 1000 + this.#options.longestSeconds;
    await this.#revoke(doomed.map((jti, index) => ({ jti, expiresAt: Number(known[index] ?? latest) })));
    await Promise.all([client.call("SREM", shared, ...doomed), client.call("ZREM", tokens, ...doomed)]);
  }

  async #tokensOf({ records }: SubjectKeys, id: string): Promise<string[]> {
    const text = await this.#within(() => this.#options.connection.client.call("HGET", records, id));
    return typeof text === "string" ? tokensOfRecord(readRecord(text)).map(({ jti }) => jti) : [];
  }

  async #revoke(tokens: readonly LiveToken[]): Promise<void> {
    const { keys, marginSeconds } = this.#options;
    await Promise.all(
      tokens.map(({ jti, expiresAt }) =>
        this.#run(revokeScript, [keys.revokedPrefix() + jti], [Math.ceil(expiresAt) + marginSeconds]),
      ),
    );
  }

  async #run(
    script: Script,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<(string | number)[]> {
    return (await runScript(this.#options.connection.client, script, keys, args)) as (string | number)[];
  }

  async #within<T>(call: () => Promise<T>, ms: number = this.#options.deadlineMs): Promise<T> {
    return callWithin(Math.max(ms, this.#options.deadlineMs), this.#options.connection, call);
  }
}

/** A set of another type is no set of tokens: there is nothing in it to end. */
function ignoreWrongType(error: unknown): undefined {
  if (error instanceof Error && error.message.startsWith("WRONGTYPE")) return undefined;
  throw error;
}

function readCutoff(value: string | number | undefined): number | undefined {
  if (value === undefined || value === "") return undefined;
  const cutoff = Number(value);
  if (Number.isNaN(cutoff)) throw new StoreFault("unreadable");
  return cutoff;
}

function readRecord(text: string | undefined): SessionRecord {
  return JSON.parse(text ?? "") as SessionRecord;
}

function readSessions(pairs: readonly string[]): StoredSession[] {
  return pairsOf(pairs).map(([id, text]) => ({ id, record: readRecord(text) }));
}

function readMember(name: string): Membership {
  const space = name.indexOf(" ");
  return { id: name.slice(0, space), principal: name.slice(space + 1) };
}

function tokensOfRecord({ current, idleEndsAt, access }: SessionRecord): LiveToken[] {
  return [{ jti: current, expiresAt: idleEndsAt / 1000 }, ...access];
}

function pairsOf(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) pairs.push([flat[index] ?? "", flat[index + 1] ?? ""]);
  return pairs;
}
