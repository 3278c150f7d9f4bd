import type { RevocationStore } from "../ports/revocation.js";
import { recordEnd } from "../ports/revocation.js";
import { StoreFault } from "../ports/fault.js";
import { steadyNow, wallNow } from "../../lib/steady-clock.js";
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
} from "../ports/sessions.js";

export interface MemorySessionStoreOptions {
  /** Records revocations. */
  readonly revocationStore: RevocationStore;
  /** Reads a cut-off in unix seconds; undefined without one. */
  readonly cutoffAt: (key: string) => number | undefined;
  readonly marginSeconds: number;
  /** Unix milliseconds. @default the wall clock for the times of tokens, and {@link steadyNow} for the overlap */
  readonly now?: () => number;
}

type Place = Omit<LivePosition, "startedAt">;
type LiveEnd = Place & Pick<SessionRecord, "createdAt">;

/** As Redis orders live sessions. */
function comparePositions(one: Place, other: Place): number {
  return one.key - other.key || one.endsAt - other.endsAt || (one.id === other.id ? 0 : one.id < other.id ? -1 : 1);
}

/** Maximum number of sessions. Beyond it a sign-in is rejected. */
const maxSessionsKept = 100_000;

interface Subject {
  readonly name: string;
  /** {@link SubjectKeys.live} */
  readonly live: string;
  readonly sessions: Map<string, SessionRecord>;
  /** The last time when all sessions were ended, in unix seconds. */
  ended: number;
}

/** Sessions of this process alone: for development and tests. */
export class MemorySessionStore implements SessionStore {
  readonly #options: MemorySessionStoreOptions;
  readonly #now: () => number;
  readonly #steady: () => number;
  /** The times when refresh tokens were replaced, by the monotonic clock. */
  readonly #rotatedAt = new WeakMap<SessionRecord, number>();
  readonly #subjects = new Map<string, Subject>();
  readonly #groups = new Map<string, Map<string, Membership & { endsAt: number }>>();
  #count = 0;

  constructor(options: MemorySessionStoreOptions) {
    this.#options = options;
    this.#now = options.now ?? wallNow;
    this.#steady = options.now ?? steadyNow;
  }

  readClock(cutoffKeys: readonly string[]): Promise<ClockReading> {
    return Promise.resolve({ ms: this.#now(), cutoffs: cutoffKeys.map((key) => this.#options.cutoffAt(key)) });
  }

  async create(keys: SubjectKeys, creation: Creation): Promise<Created> {
    const { id, record, cutoff, maxSessions, onLimit, notAfter } = creation;
    if (this.#now() > notAfter) return { outcome: "late" };
    const subject = this.#subject(keys);
    if (subject.ended >= record.issuedAt) return { outcome: "behind", ended: subject.ended };
    const live = this.#live(keys).filter((one) => cutoff === undefined || one.record.issuedAt > cutoff);
    for (const known of [...subject.sessions.keys()]) {
      if (!live.some((one) => one.id === known)) this.#forget(keys, known);
    }
    const surplus = maxSessions === undefined ? 0 : live.length - maxSessions + 1;
    if (surplus > 0 && onLimit === "refuse") return { outcome: "full" };
    if (this.#count >= maxSessionsKept) this.#forgetExpired();
    if (this.#count >= maxSessionsKept) throw new StoreFault("overloaded");
    const evicted = surplus > 0 ? live.slice(-surplus) : [];
    this.#keep(keys, { id, record });
    await this.#finish(keys, evicted).catch((error: unknown) => {
      this.#forget(keys, id);
      throw error;
    });
    return { outcome: "created", evicted: evicted.map((old) => old.id) };
  }

  async rotate(keys: SubjectKeys, rotation: Rotation): Promise<Rotated> {
    const { id, presented, generation, issuedAt, accessSeconds, maxAccess } = rotation;
    const record = this.#subjects.get(keys.index)?.sessions.get(id);
    const now = this.#now();
    if (record === undefined || record.idleEndsAt <= now) return { outcome: "missing" };
    if (now > rotation.notAfter) return { outcome: "late" };
    if (presented !== record.current && generation <= record.generation) {
      const rotatedAt = this.#rotatedAt.get(record) ?? Number.NEGATIVE_INFINITY;
      if (presented === record.previous && this.#steady() - rotatedAt < rotation.repeatMs)
        return { outcome: "repeated", record: this.#repeat(keys, record, rotatedAt, rotation), surplus: [] };
      await this.#finish(keys, [{ id, record }]);
      return { outcome: "reused" };
    }
    const idleEndsAt = Math.min(now + (record.idleMs ?? rotation.idleMs), record.endsAt);
    const access = this.#withAccess({ ...record, idleEndsAt }, rotation.access, issuedAt, accessSeconds);
    const surplus = access.splice(0, Math.max(0, access.length - maxAccess));
    const renewed: SessionRecord = {
      ...record,
      ...rotation.changes,
      previous: presented,
      current: rotation.successor,
      generation: generation + 1,
      issuedAt,
      accessIssuedAt: undefined,
      seenAt: now,
      idleEndsAt,
      access,
    };
    this.#subject(keys).sessions.set(id, renewed);
    this.#rotatedAt.set(renewed, this.#steady());
    await this.#revoke(keys, surplus);
    return { outcome: "rotated", record: renewed, surplus: surplus.map(({ jti }) => jti) };
  }

  /** The answer to a token whose successor was not presented; with a new access token if the newest has less than half of its life. */
  #repeat(keys: SubjectKeys, record: SessionRecord, rotatedAt: number, rotation: Rotation): SessionRecord {
    const { id, renewedAccess, issuedAt, accessSeconds, changes } = rotation;
    const left = (record.access.at(-1)?.expiresAt ?? issuedAt) - issuedAt;
    if (left >= accessSeconds / 2 || left >= Math.floor(record.idleEndsAt / 1000) - issuedAt) return record;
    const access = this.#withAccess(record, renewedAccess, issuedAt, accessSeconds);
    const renewed: SessionRecord = { ...record, ...changes, access, accessIssuedAt: issuedAt };
    this.#subject(keys).sessions.set(id, renewed);
    this.#rotatedAt.set(renewed, rotatedAt);
    return renewed;
  }

  /** The live access tokens of a session, and a new one. */
  #withAccess(
    { access, idleEndsAt }: SessionRecord,
    jti: string,
    issuedAt: number,
    accessSeconds: number,
  ): LiveToken[] {
    const expiresAt = Math.min(issuedAt + accessSeconds, Math.floor(idleEndsAt / 1000));
    return [...access.filter((token) => token.expiresAt * 1000 > this.#now()), { jti, expiresAt }];
  }

  list(keys: SubjectKeys, offset: number, count: number): Promise<StoredSession[]> {
    return Promise.resolve(this.#live(keys).slice(offset, offset + count));
  }

  find(keys: SubjectKeys, id: string): Promise<SessionRecord | undefined> {
    return Promise.resolve(this.#live(keys).find((one) => one.id === id)?.record);
  }

  count(live: readonly string[]): Promise<number> {
    return Promise.resolve(this.#liveSubjects(live).reduce((sum, { ends }) => sum + ends.length, 0));
  }

  /** In the order of the keys, and then of the ends of the sessions, as in Redis. */
  subjects(live: readonly string[], position: LivePosition | undefined, count: number): Promise<LiveSubjects> {
    const startedAt = position?.startedAt ?? this.#now();
    const all = this.#liveSubjects(live).flatMap(({ name, ends }) => {
      const listed = ends.find(({ createdAt }) => createdAt <= startedAt) ?? ends[0];
      return ends.map((end) => ({ name, ...end, sessions: end === listed ? ends.length : 0 }));
    });
    const rest = position === undefined ? all : all.filter((one) => comparePositions(one, position) > 0);
    const page = rest.sort(comparePositions).slice(0, count);
    const last = page.at(-1);
    const subjects = page.flatMap(({ name, sessions }) => (sessions === 0 ? [] : [{ name, sessions }]));
    if (last === undefined || page.length === rest.length) return Promise.resolve({ subjects, next: undefined });
    const { key, endsAt, id } = last;
    return Promise.resolve({ subjects, next: { key, endsAt, id, startedAt } });
  }

  /** The subjects with live sessions under these keys, with the ends of these sessions in ascending order. */
  #liveSubjects(live: readonly string[]): { name: string; ends: LiveEnd[] }[] {
    const now = this.#now();
    return [...this.#subjects.values()].flatMap((subject) => {
      const key = live.indexOf(subject.live);
      const ends = [...subject.sessions].map(([id, { idleEndsAt, createdAt }]): LiveEnd => {
        return { key, id, endsAt: idleEndsAt, createdAt };
      });
      const open = ends.filter(({ endsAt }) => endsAt > now).sort(comparePositions);
      return key === -1 || open.length === 0 ? [] : [{ name: subject.name, ends: open }];
    });
  }

  ids(keys: SubjectKeys): Promise<string[]> {
    return Promise.resolve(this.#live(keys).map(({ id }) => id));
  }

  async end(keys: SubjectKeys, selection: Selection): Promise<string[]> {
    const { kind } = selection;
    if (kind === "all") {
      const subject = this.#subject(keys);
      subject.ended = Math.max(subject.ended, selection.endedAt);
    }
    const chosen = this.#live(keys).filter(({ id, record }) =>
      kind === "all"
        ? selection.sparesLater !== true || Math.floor(record.createdAt / 1000) <= selection.endedAt
        : (kind === "only") === (id === selection.id),
    );
    await this.#finish(keys, chosen);
    return chosen.map(({ id }) => id);
  }

  /** Does nothing: no other service reads this memory. */
  trackSubject(): Promise<void> {
    return Promise.resolve();
  }

  trackGroup(keys: GroupKeys, _tokens: unknown, member: Membership, endsAt: number): Promise<void> {
    const group = this.#groups.get(keys.members) ?? new Map<string, Membership & { endsAt: number }>();
    this.#groups.set(keys.members, group);
    for (const [id, known] of group) if (known.endsAt <= this.#now()) group.delete(id);
    group.set(member.id, { ...member, endsAt });
    return Promise.resolve();
  }

  endGroup(keys: GroupKeys): Promise<Membership[]> {
    const known = [...(this.#groups.get(keys.members)?.values() ?? [])];
    const members = known.filter(({ endsAt }) => endsAt > this.#now());
    return Promise.resolve(members.map(({ id, principal }) => ({ id, principal })));
  }

  #subject({ index, name, live }: SubjectKeys): Subject {
    const known = this.#subjects.get(index);
    if (known !== undefined) return known;
    const subject: Subject = { name, live, sessions: new Map(), ended: Number.NEGATIVE_INFINITY };
    this.#subjects.set(index, subject);
    return subject;
  }

  /** Live sessions in descending order of their idle end; of those that end at once, the one that began last is first. */
  #live({ index }: SubjectKeys): StoredSession[] {
    const sessions = [...(this.#subjects.get(index)?.sessions ?? [])].reverse();
    return sessions
      .map(([id, record]) => ({ id, record }))
      .filter(({ record }) => record.idleEndsAt > this.#now())
      .sort((one, other) => other.record.idleEndsAt - one.record.idleEndsAt);
  }

  #forget({ index }: SubjectKeys, id: string): void {
    const subject = this.#subjects.get(index);
    if (subject?.sessions.delete(id) !== true) return;
    this.#count -= 1;
    this.#forgetIdle(index, subject);
  }

  /** Drops a subject without sessions. The time of the last ending matters only while a sign-in may be in progress. */
  #forgetIdle(index: string, { sessions, ended }: Subject): void {
    if (sessions.size === 0 && ended < this.#now() / 1000 - 60) this.#subjects.delete(index);
  }

  #forgetExpired(): void {
    for (const [index, subject] of this.#subjects) {
      for (const [id, { idleEndsAt }] of subject.sessions) {
        if (idleEndsAt <= this.#now() && subject.sessions.delete(id)) this.#count -= 1;
      }
      this.#forgetIdle(index, subject);
    }
  }

  #keep(keys: SubjectKeys, { id, record }: StoredSession): void {
    this.#subject(keys).sessions.set(id, record);
    this.#count += 1;
  }

  /** Ends sessions. If there is no room for the revocation of their tokens they stay, so that it can be repeated. */
  async #finish(keys: SubjectKeys, sessions: readonly StoredSession[]): Promise<void> {
    for (const { id } of sessions) this.#forget(keys, id);
    try {
      await this.#revoke(
        keys,
        sessions.flatMap(({ record }) => record.access),
      );
    } catch (error) {
      for (const session of sessions) this.#keep(keys, session);
      throw error;
    }
  }

  async #revoke({ revoked }: SubjectKeys, tokens: readonly LiveToken[]): Promise<void> {
    const { revocationStore, marginSeconds } = this.#options;
    await Promise.all(
      tokens.map(({ jti, expiresAt }) => revocationStore.revoke(revoked + jti, recordEnd(expiresAt, marginSeconds))),
    );
  }
}
