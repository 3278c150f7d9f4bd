import type {
  Created,
  Creation,
  GroupKeys,
  LiveToken,
  Membership,
  ClockReading,
  LivePosition,
  LiveSubjects,
  Rotated,
  Rotation,
  Selection,
  SessionRecord,
  SessionStore,
  StoredSession,
  SubjectKeys,
  TrackedTokens,
} from "../ports/sessions.js";
import { StoreFault } from "../ports/fault.js";
import { recordEnd } from "../ports/revocation.js";
import type { Connection } from "./connect.js";
import { callWithin } from "./connect.js";
import { runScript } from "./run-script.js";
import { runDeclared } from "./declared-keys.js";
import {
  integerIn,
  readInteger,
  readList,
  readListOf,
  readNumber,
  readOptionalText,
  readPairs,
  readTexts,
  readTime,
} from "./replies.js";
import type { Pair } from "./session-replies.js";
import { readCreated, readEnded, readRotated, readSessions } from "./session-replies.js";
import type { RunScript } from "./live-sessions.js";
import { listLiveSubjects } from "./live-sessions.js";
import { countLiveScript } from "./scripts/live-sessions.js";
import { revokeScript } from "./scripts/revocation.js";
import type { Script } from "./scripts/lua.js";
import {
  createSessionScript,
  endSessionsScript,
  listSessionsScript,
  clockReadingScript,
  removeSessionsScript,
  rotateSessionScript,
} from "./scripts/sessions.js";
import { endGroupScript, joinTokensScript, listMembersScript, noteTokensScript } from "./scripts/token-sets.js";
import { keyPrefixOf } from "./topology.js";

export interface RedisSessionStoreOptions {
  readonly connection: Connection;
  readonly deadlineMs: number;
  /** How long a revocation record outlives its token. */
  readonly marginSeconds: number;
  /** Maximum lifetime of a token. */
  readonly longestSeconds: number;
}

/** Timeout of bulk operations: to end a thousand sessions takes longer than a question of a request. */
const bulkMs = 2000;

/**
 * Sessions in Redis. An operation on one subject is one script, which names all its keys: one that ends sessions is called
 * a second time with the keys of their tokens. In a Cluster, and where a script does not get hold of all keys, the operation
 * is done in parts: one script marks the sessions, and the keys in other hash slots are written one by one.
 */
export class RedisSessionStore implements SessionStore {
  readonly #options: RedisSessionStoreOptions;
  /** The key prefix of the client, which it does not add to keys that are arguments. */
  readonly #keyPrefix: string;

  constructor(options: RedisSessionStoreOptions) {
    this.#options = options;
    this.#keyPrefix = keyPrefixOf(options.connection.client);
  }

  get #isCluster(): boolean {
    return this.#options.connection.isCluster;
  }

  /** In a Cluster each key may have another clock: the earliest time counts, so that no cut-off is missed. */
  async readClock(cutoffKeys: readonly string[]): Promise<ClockReading> {
    const groups = this.#isCluster ? cutoffKeys.map((key) => [key]) : [cutoffKeys];
    const moments = await this.#within(() =>
      Promise.all(
        groups.map(async (keys) => {
          const [ms, ...cutoffs] = readListOf(await this.#run(clockReadingScript, keys, []), 1 + keys.length);
          return { ms: readInteger(ms), cutoffs: cutoffs.map(readCutoff) };
        }),
      ),
    );
    return { ms: Math.min(...moments.map(({ ms }) => ms)), cutoffs: moments.flatMap(({ cutoffs }) => cutoffs) };
  }

  async create(keys: SubjectKeys, creation: Creation): Promise<Created> {
    const { id, record, notAfter, cutoff, maxSessions, onLimit } = creation;
    const { value: created } = await this.#subject(
      createSessionScript,
      readCreated,
      keys,
      [keys.ended],
      [
        ...[id, JSON.stringify(record), record.issuedAt, record.idleEndsAt, notAfter, cutoff ?? ""],
        ...[maxSessions ?? 0, onLimit === "evictOldest" ? 1 : 0],
      ],
    );
    if (created.outcome !== "created") return created;
    return { outcome: "created", evicted: await this.#finish(keys, created.pairs) };
  }

  async rotate(keys: SubjectKeys, rotation: Rotation): Promise<Rotated> {
    const { id, presented, generation, successor, access, issuedAt, accessSeconds } = rotation;
    const { idleMs, repeatMs, maxAccess, notAfter, changes, renewedAccess } = rotation;
    const { value: rotated, inParts } = await this.#subject(
      rotateSessionScript,
      readRotated,
      keys,
      [],
      [
        ...[id, presented, generation, successor, access, issuedAt, accessSeconds],
        ...[idleMs, repeatMs, maxAccess, notAfter, JSON.stringify(changes), renewedAccess],
      ],
    );
    if ("pairs" in rotated) {
      await this.#finish(keys, rotated.pairs);
      return { outcome: rotated.outcome === "over" ? "missing" : "reused" };
    }
    if (!("record" in rotated)) return rotated;
    const { outcome, record, surplus } = rotated;
    if (inParts && surplus.length > 0) await this.#within(() => this.#revoke(keys, surplus));
    return { outcome, record, surplus: surplus.map(({ jti }) => jti) };
  }

  async list({ index, records }: SubjectKeys, offset: number, count: number): Promise<StoredSession[]> {
    return this.#within(async () =>
      readSessions(readPairs(await this.#run(listSessionsScript, [index, records], [offset, count]))),
    );
  }

  async find({ records }: SubjectKeys, id: string): Promise<SessionRecord | undefined> {
    const { client } = this.#options.connection;
    return this.#within(async () => {
      const [ms, text] = await Promise.all([
        client.call("TIME").then(readTime),
        client.call("HGET", records, id).then(readOptionalText),
      ]);
      const [found] = text === undefined ? [] : readSessions([[id, text]]);
      return found !== undefined && found.record.idleEndsAt > ms ? found.record : undefined;
    });
  }

  async count(live: readonly string[]): Promise<number> {
    const groups = this.#isCluster ? live.map((key) => [key]) : [live];
    return this.#within(async () => {
      const counts = groups.map(async (keys) => readInteger(await this.#run(countLiveScript, keys, [])));
      return (await Promise.all(counts)).reduce((sum, one) => sum + one, 0);
    }, bulkMs);
  }

  async subjects(
    live: readonly string[],
    position: LivePosition | undefined,
    count: number,
    keysOf: (name: string) => SubjectKeys,
  ): Promise<LiveSubjects> {
    const run: RunScript = async (script, keys, args) => this.#run(script, keys, args);
    return this.#within(
      () => listLiveSubjects({ run, isCluster: this.#isCluster, live, keysOf }, position, count),
      bulkMs,
    );
  }

  async ids({ records }: SubjectKeys): Promise<string[]> {
    const { client } = this.#options.connection;
    return this.#within(async () => readTexts(await client.call("HKEYS", records)));
  }

  async end(keys: SubjectKeys, selection: Selection): Promise<string[]> {
    const { kind } = selection;
    const spared = (kind === "except" ? selection.jti : undefined) ?? "";
    const which = kind === "all" ? selection.endedAt : selection.id;
    const word = kind === "all" && selection.sparesLater === true ? "until" : kind;
    const { value: pairs, inParts } = await this.#subject(
      endSessionsScript,
      readEnded,
      keys,
      [keys.ended, keys.tokens],
      [word, which, spared],
      bulkMs,
    );
    const ended = await this.#finish(keys, pairs);
    if (inParts && kind !== "only") {
      await this.#within(() => this.#endShared(keys, async () => [spared, ...(await this.#tokensOf(keys))]), bulkMs);
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

  async endGroup({ members, tokens, shared, revoked }: GroupKeys): Promise<Membership[]> {
    const { marginSeconds, longestSeconds } = this.#options;
    const args = [this.#keyPrefix, revoked, marginSeconds, longestSeconds];
    const call = (further: readonly string[]): Promise<unknown> =>
      this.#run(endGroupScript, [shared, tokens, members, ...further], args);
    const ended = this.#isCluster ? undefined : await this.#within(() => runDeclared(call), bulkMs);
    if (ended !== undefined) return readTexts(ended.slice(1)).map(readMember);
    await this.#within(() => this.#endShared({ tokens, shared, revoked }, async () => Promise.resolve([])), bulkMs);
    return this.#within(async () => readTexts(await this.#run(listMembersScript, [members], [])).map(readMember));
  }

  /** Notes the ends of tokens first, and then adds the tokens to the set that other services read. */
  async #track(
    notes: readonly string[],
    shared: string,
    { add, drop }: TrackedTokens,
    member: readonly (string | number)[],
  ): Promise<void> {
    const { marginSeconds, longestSeconds } = this.#options;
    const pairs = add.flatMap(({ jti, expiresAt }) => [jti, expiresAt]);
    const noted = [...member, marginSeconds, add.length, ...pairs, ...drop];
    const dead = await this.#within(async () => readTexts(await this.#run(noteTokensScript, notes, noted)));
    const latest = Math.max(0, ...add.map(({ expiresAt }) => recordEnd(expiresAt, marginSeconds)));
    const joined = [latest, longestSeconds + marginSeconds, add.length, ...add.map(({ jti }) => jti), ...drop, ...dead];
    await this.#within(() => this.#run(joinTokensScript, [shared], joined));
  }

  /** Runs a script about one subject, with the common arguments, and reads its reply. */
  async #subject<T>(
    script: Script,
    read: (reply: readonly unknown[]) => T,
    { index, records, live, name, shared, revoked }: SubjectKeys,
    moreKeys: readonly string[],
    args: readonly (string | number)[],
    ms: number = this.#options.deadlineMs,
  ): Promise<{ readonly value: T; readonly inParts: boolean }> {
    const { marginSeconds, longestSeconds } = this.#options;

    const call = async (mode: "0" | "1", further: readonly string[]): Promise<unknown> =>
      this.#run(
        script,
        [index, records, live, ...moreKeys, ...further],
        [mode + this.#keyPrefix, revoked, marginSeconds, longestSeconds, shared, ...args, name],
      );

    return this.#within(async () => {
      const whole = this.#isCluster ? undefined : await runDeclared((further) => call("1", [shared, ...further]));
      return { value: read(whole ?? readList(await call("0", []))), inParts: whole === undefined };
    }, ms);
  }

  /**
   * Returns the ids of ended sessions. Those with a record are done in parts: their tokens are revoked here first.
   */
  async #finish({ index, records, shared, revoked }: SubjectKeys, pairs: readonly Pair[]): Promise<string[]> {
    const ids = pairs.map(([id]) => id);
    const marked = pairs.filter(([, text]) => text !== "");
    if (marked.length === 0) return ids;
    const { client } = this.#options.connection;
    await this.#within(async () => {
      const sessions = readSessions(marked);
      await this.#revoke(
        { revoked },
        sessions.flatMap(({ record }) => record.access),
      );
      await Promise.all(
        sessions.flatMap(({ record }) => {
          const names = tokensOfRecord(record).map(({ jti }) => jti);
          const sets = record.orgTokens === undefined ? [shared] : [shared, record.orgTokens];
          return sets.map((set) => client.call("SREM", set, ...names).catch(ignoreWrongType));
        }),
      );
      const done = sessions.map(({ id }) => id);
      await this.#run(removeSessionsScript, [index, records], done);
    }, bulkMs);
    return ids;
  }

  /**
   * Revokes the tokens of a shared set, in parts, but for those that `readKept` reads after the set: a session that
   * goes on, or begins, may have put tokens there in the meantime.
   */
  async #endShared(
    { tokens, shared, revoked }: Pick<SubjectKeys, "tokens" | "shared" | "revoked">,
    readKept: () => Promise<readonly string[]>,
  ): Promise<void> {
    const { client } = this.#options.connection;
    const members = (await client.call("SMEMBERS", shared).then(readTexts, ignoreWrongType)) ?? [];
    const kept = new Set(members.length === 0 ? [] : await readKept());
    const doomed = members.filter((jti) => !kept.has(jti));
    if (doomed.length === 0) return;
    const known = await client.call("ZMSCORE", tokens, ...doomed).catch(ignoreWrongType);
    // A key with a value of another type tells nothing; the last call here rejects.
    const scores = known === undefined ? doomed.map(() => null) : readListOf(known, doomed.length);
    const expiries = scores.map((score) => (score === null ? undefined : readNumber(score)));
    // Tokens of another service have no noted end. Redis' time is used: by a slow clock here they might seem expired.
    const latest = expiries.includes(undefined)
      ? readTime(await client.call("TIME")) / 1000 + this.#options.longestSeconds
      : 0;
    await this.#revoke(
      { revoked },
      doomed.map((jti, index) => ({ jti, expiresAt: expiries[index] ?? latest })),
    );
    await Promise.all([client.call("SREM", shared, ...doomed), client.call("ZREM", tokens, ...doomed)]);
  }

  /** The tokens of all sessions that go on. The previous refresh token may still get its successor. */
  async #tokensOf({ records }: SubjectKeys): Promise<string[]> {
    const pairs = readPairs(await this.#options.connection.client.call("HGETALL", records));
    return readSessions(pairs).flatMap(({ record }) => {
      const names = tokensOfRecord(record).map(({ jti }) => jti);
      return record.previous === undefined ? names : [...names, record.previous];
    });
  }

  async #revoke({ revoked }: Pick<SubjectKeys, "revoked">, tokens: readonly LiveToken[]): Promise<void> {
    const { marginSeconds } = this.#options;
    await Promise.all(
      tokens.map(async ({ jti, expiresAt }) =>
        readInteger(await this.#run(revokeScript, [revoked + jti], [recordEnd(expiresAt, marginSeconds)])),
      ),
    );
  }

  async #run(script: Script, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown> {
    return runScript(this.#options.connection.client, script, keys, args);
  }

  async #within<T>(call: () => Promise<T>, ms: number = this.#options.deadlineMs): Promise<T> {
    return callWithin(Math.max(ms, this.#options.deadlineMs), this.#options.connection, call, "session");
  }
}

/** Ignores a key of another type: it contains no tokens. */
function ignoreWrongType(error: unknown): undefined {
  if (error instanceof Error && error.message.startsWith("WRONGTYPE")) return undefined;
  throw error;
}

function readCutoff(reply: unknown): number | undefined {
  const text = readOptionalText(reply);
  if (text === undefined) return undefined;
  const cutoff = integerIn(text, 0);
  if (cutoff === undefined) throw new StoreFault("unreadable", "WRONGTYPE");
  return cutoff;
}

function readMember(name: string): Membership {
  const space = name.indexOf(" ");
  return { id: name.slice(0, space), principal: name.slice(space + 1) };
}

function tokensOfRecord({ current, idleEndsAt, access }: SessionRecord): LiveToken[] {
  return [{ jti: current, expiresAt: idleEndsAt / 1000 }, ...access];
}
