import { randomUUID } from "node:crypto";
import { expect } from "chai";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { DecisionStore } from "../../../packages/core/src/store/ports/decisions.js";
import { StoreFault } from "../../../packages/core/src/store/ports/fault.js";
import type { RevocationStore } from "../../../packages/core/src/store/ports/revocation.js";
import type {
  Creation,
  LivePosition,
  Rotated,
  Rotation,
  SessionRecord,
  SessionStore,
  SubjectKeys,
} from "../../../packages/core/src/store/ports/sessions.js";
import { freshPrefix } from "../../support/redis.js";

export interface OpenSessionStore {
  readonly store: SessionStore;
  readonly revocationStore: DecisionStore & RevocationStore;
}

const hour = 3_600_000;
const day = 24 * hour;

/** The contract of every SessionStore: what `gate.tokens` and `gate.sessions` rely on, whichever store answers. */
export function describeSessionStore(
  name: string,
  open: (keys: Keyspace) => Promise<OpenSessionStore> | OpenSessionStore,
): void {
  describe(`${name} keeps the contract of a session store`, () => {
    let store: SessionStore;
    let revocationStore: OpenSessionStore["revocationStore"];
    let keys: Keyspace;
    let alice: SubjectKeys;
    let nowMs: number;

    beforeEach(async () => {
      keys = new Keyspace(freshPrefix(), "test");
      ({ store, revocationStore } = await open(keys));
      alice = keys.sessionsOf("alice");
      ({ ms: nowMs } = await store.readClock([keys.subjectCutoff("alice")]));
    });

    function recordOf(more: Partial<SessionRecord> = {}): SessionRecord {
      const issuedAt = Math.floor(nowMs / 1000);
      return {
        createdAt: nowMs,
        seenAt: nowMs,
        endsAt: nowMs + 2 * day,
        idleEndsAt: nowMs + day,
        issuedAt,
        generation: 0,
        current: "r0",
        access: [{ jti: `a-${randomUUID()}`, expiresAt: issuedAt + 900 }],
        grant: "{}",
        ...more,
      };
    }

    async function create(id: string, more: Partial<SessionRecord> = {}, options: Partial<Creation> = {}) {
      const record = recordOf(more);
      const creation = {
        id,
        record,
        cutoff: undefined,
        maxSessions: undefined,
        onLimit: "refuse",
        ...options,
      } as const;
      return { record, ...(await store.create(alice, { notAfter: nowMs + 60_000, ...creation })) };
    }

    async function rotate(id: string, presented: string, more: Partial<Rotation> = {}): Promise<Rotated> {
      const generation = Number(presented.slice(1));
      return store.rotate(alice, {
        id,
        presented,
        generation,
        successor: `r${generation + 1}`,
        access: `x-${id}-${generation + 1}`,
        issuedAt: Math.floor(nowMs / 1000),
        accessSeconds: 900,
        idleMs: day,
        repeatMs: 10_000,
        renewedAccess: `n-${id}`,
        maxAccess: 16,
        notAfter: nowMs + 60_000,
        changes: {},
        ...more,
      });
    }

    async function isRevoked(jti: string): Promise<boolean> {
      const token = { revokedKey: keys.revokedToken(jti), cutoffKeys: [], issuedAt: 1 };
      const answer = await revocationStore.ask({ beforeToken: [], token, afterToken: [] });
      if (answer instanceof StoreFault) throw answer;
      if (answer.revoked instanceof StoreFault) throw answer.revoked;
      return answer.revoked === true;
    }

    const listed = async (): Promise<string[]> => (await store.list(alice, 0, 100)).map(({ id }) => id);

    describe("its clock", () => {
      it("is read with the cut-offs, in their order", async () => {
        const [none, some] = [keys.subjectCutoff("nobody"), keys.subjectCutoff("somebody")];
        const at = await revocationStore.cutOff(some, 60);
        const { ms, cutoffs } = await store.readClock([none, some]);
        expect(cutoffs).to.deep.equal([undefined, at]);
        expect(Math.floor(ms / 1000) - at).to.be.within(0, 2);
      });
    });

    describe("sign-in", () => {
      it("adds a session, with everything that is said of it", async () => {
        const { outcome, record } = await create("s1", {
          ip: "192.0.2.1",
          label: 'caf\u00e9 "x"',
          grant: '{"claims":{"a":[]}}',
        });
        expect(outcome).to.equal("created");
        expect(await store.list(alice, 0, 10)).to.deep.equal([{ id: "s1", record }]);
      });

      it("refuses one too many, and takes it when there is room again", async () => {
        await create("s1");
        await create("s2");
        expect(await create("s3", {}, { maxSessions: 2 })).to.include({ outcome: "full" });
        await store.end(alice, { kind: "only", id: "s1" });
        expect(await create("s3", {}, { maxSessions: 2 })).to.include({ outcome: "created" });
        expect(await listed()).to.have.members(["s2", "s3"]);
      });

      it("ends those that would end first, with their tokens, where it is told to", async () => {
        const { record } = await create("s1", { idleEndsAt: nowMs + 1000_000 });
        await create("s2", { idleEndsAt: nowMs + 3000_000 });
        await create("s3", { idleEndsAt: nowMs + 2000_000 });
        const options = { maxSessions: 2, onLimit: "evictOldest" } as const;
        const created = await create("s4", {}, options);
        expect(created).to.deep.include({ outcome: "created" });
        expect(created).to.have.property("evicted").with.members(["s1", "s3"]);
        expect(await listed()).to.deep.equal(["s4", "s2"]);
        expect(await isRevoked(record.access[0]!.jti)).to.equal(true);
        expect(await rotate("s1", "r0")).to.include({ outcome: "missing" });
      });

      for (const onLimit of ["refuse", "evictOldest"] as const) {
        it(`never lets 50 at once have more than may be (${onLimit})`, async () => {
          const outcomes = await Promise.all(
            Array.from({ length: 50 }, (_, index) => create(`s${index}`, {}, { maxSessions: 5, onLimit })),
          );
          const count = outcomes.filter(({ outcome }) => outcome === "created").length;
          expect(count).to.equal(onLimit === "refuse" ? 5 : 50);
          expect(await listed()).to.have.length(5);
        });
      }

      it("counts neither sessions that have ended by themselves nor those that a cut-off has ended", async () => {
        await create("over", { idleEndsAt: nowMs - 1 });
        await create("cut", { issuedAt: Math.floor(nowMs / 1000) - 100 });
        const options = { maxSessions: 1, cutoff: Math.floor(nowMs / 1000) - 50 };
        expect(await create("s1", {}, options)).to.include({ outcome: "created" });
        expect(await listed()).to.deep.equal(["s1"]);
      });

      it("is later than the second in which all sessions were ended", async () => {
        const second = Math.floor(nowMs / 1000);
        await store.end(alice, { kind: "all", endedAt: second });
        expect(await create("s1")).to.include({ outcome: "behind", ended: second });
        expect(await create("s1", { issuedAt: second + 1 })).to.include({ outcome: "created" });
        expect(await store.create(keys.sessionsOf("bob"), { ...creationOf("s2"), record: recordOf() })).to.include({
          outcome: "created",
        });
      });
    });

    function creationOf(id: string): Omit<Creation, "record"> {
      return { id, cutoff: undefined, maxSessions: undefined, onLimit: "refuse", notAfter: nowMs + 60_000 };
    }

    describe("rotation", () => {
      it("replaces the token, keeps the other members, and moves the end", async () => {
        const { record } = await create("s1", { ip: "192.0.2.1", label: "phone", idleEndsAt: nowMs + 5000 });
        const rotated = await rotate("s1", "r0", { changes: { ip: "192.0.2.2" } });
        if (rotated.outcome !== "rotated") throw new Error(rotated.outcome);
        const { current, previous, generation, ip, label, idleEndsAt, access, createdAt } = rotated.record;
        expect({ current, previous, generation, ip, label }).to.deep.equal({
          current: "r1",
          previous: "r0",
          generation: 1,
          ip: "192.0.2.2",
          label: "phone",
        });
        expect(createdAt).to.equal(record.createdAt);
        expect(idleEndsAt - nowMs).to.be.within(day, day + 10_000);
        expect(access.map(({ jti }) => jti)).to.deep.equal([record.access[0]!.jti, "x-s1-1"]);
      });

      it("never moves the last end, and no access token outlives it", async () => {
        await create("s1", { endsAt: nowMs + 60_000 });
        const rotated = await rotate("s1", "r0");
        if (rotated.outcome !== "rotated") throw new Error(rotated.outcome);
        expect(rotated.record.idleEndsAt).to.equal(nowMs + 60_000);
        expect(rotated.record.access.at(-1)?.expiresAt).to.equal(Math.floor((nowMs + 60_000) / 1000));
      });

      it("answers a repetition as the first time, until the successor is used", async () => {
        await create("s1");
        const answers = await Promise.all(Array.from({ length: 50 }, () => rotate("s1", "r0")));
        const records = answers.map((answer) => ("record" in answer ? answer.record : undefined));
        expect(answers.filter(({ outcome }) => outcome === "rotated")).to.have.length(1);
        expect(answers.filter(({ outcome }) => outcome === "repeated")).to.have.length(49);
        for (const record of records) expect(record).to.deep.equal(records[0]);
        expect(await rotate("s1", "r1")).to.include({ outcome: "rotated" });
        expect(await rotate("s1", "r0")).to.include({ outcome: "reused" });
      });

      it("ends the session at a reuse, access tokens included", async () => {
        const { record } = await create("s1");
        await rotate("s1", "r0");
        expect(await rotate("s1", "r0", { repeatMs: -1 })).to.include({ outcome: "reused" });
        for (const jti of [record.access[0]!.jti, "x-s1-1"]) expect(await isRevoked(jti), jti).to.equal(true);
        expect(await rotate("s1", "r1")).to.include({ outcome: "missing" });
        expect(await listed()).to.be.empty;
      });

      it("takes a parent for stolen once its successor was presented, however long the time for repetitions", async () => {
        for (const [id, presentations] of [
          ["once", 1],
          ["twice", 2],
        ] as const) {
          const { record } = await create(id);
          expect(await rotate(id, "r0", { repeatMs: day })).to.include({ outcome: "rotated" });
          expect(await rotate(id, "r0", { repeatMs: day })).to.include({ outcome: "repeated" });
          // Also a successor that is presented at the same time as its parent.
          const outcomes = await Promise.all(
            Array.from({ length: presentations }, () => rotate(id, "r1", { repeatMs: day })),
          );
          expect(outcomes.filter(({ outcome }) => outcome === "rotated")).to.have.length(1);
          expect(await rotate(id, "r0", { repeatMs: day })).to.include({ outcome: "reused" });
          for (const jti of [record.access[0]!.jti, `x-${id}-1`, `x-${id}-2`])
            expect(await isRevoked(jti), jti).to.equal(true);
          expect(await rotate(id, "r2", { repeatMs: day })).to.include({ outcome: "missing" });
        }
      });

      it("gives a repetition an access token with at least half of its life, and the same refresh token", async () => {
        await create("s1");
        const first = await rotate("s1", "r0");
        const early = await rotate("s1", "r0", { accessSeconds: 1800 });
        expect("record" in early && early.record).to.deep.equal("record" in first && first.record);
        const [late, again] = [
          await rotate("s1", "r0", { accessSeconds: 1801, changes: { grant: "[]" } }),
          await rotate("s1", "r0", { accessSeconds: 1801 }),
        ];
        if (late.outcome !== "repeated" || again.outcome !== "repeated") throw new Error(late.outcome);
        expect(late.record).to.include({ current: "r1", previous: "r0", generation: 1, grant: "[]" });
        expect(late.record.access.at(-1)).to.deep.equal({
          jti: "n-s1",
          expiresAt: Math.floor(nowMs / 1000) + 1801,
        });
        expect(late.record.accessIssuedAt).to.equal(Math.floor(nowMs / 1000));
        expect(again.record).to.deep.equal(late.record);
        const next = await rotate("s1", "r1");
        expect(next).to.include({ outcome: "rotated" });
        expect(next).not.to.have.nested.property("record.accessIssuedAt", late.record.accessIssuedAt);
        expect(await rotate("s1", "r0")).to.include({ outcome: "reused" });
        for (const jti of ["x-s1-1", "n-s1", "x-s1-2"]) expect(await isRevoked(jti), jti).to.equal(true);
      });

      it("renews no access token that cannot live longer than the session", async () => {
        await create("s1", { endsAt: nowMs + 60_000 });
        const first = await rotate("s1", "r0");
        const again = await rotate("s1", "r0");
        expect("record" in again && again.record).to.deep.equal("record" in first && first.record);
      });

      it("moves the end by the idle life of the session, where it has one of its own", async () => {
        await create("s1", { idleMs: 5000, persistent: false });
        const rotated = await rotate("s1", "r0");
        if (rotated.outcome !== "rotated") throw new Error(rotated.outcome);
        expect(rotated.record.idleEndsAt - nowMs).to.be.within(5000, 9000);
        expect(rotated.record).to.include({ idleMs: 5000, persistent: false });
      });

      it("goes on from a token that is ahead of the record, whose rotation was lost", async () => {
        await create("s1");
        const rotated = await rotate("s1", "r1");
        expect(rotated).to.include({ outcome: "rotated" });
        expect(rotated).to.have.nested.property("record.generation", 2);
        expect(await rotate("s1", "r0")).to.include({ outcome: "reused" });
      });

      it("does nothing that nobody waits for any more", async () => {
        await create("s1");
        expect(await rotate("s1", "r0", { notAfter: nowMs - 1 })).to.include({ outcome: "late" });
        expect(await rotate("s1", "r0")).to.include({ outcome: "rotated" });
        expect(await create("s2", {}, { notAfter: nowMs - 1 })).to.include({ outcome: "late" });
        expect(await listed()).to.deep.equal(["s1"]);
      });

      it("keeps a bounded number of access tokens alive, and revokes the oldest", async () => {
        const { record } = await create("s1");
        for (let generation = 0; generation < 3; generation += 1)
          await rotate("s1", `r${generation}`, { maxAccess: 3 });
        expect(await isRevoked(record.access[0]!.jti)).to.equal(true);
        for (const jti of ["x-s1-1", "x-s1-2", "x-s1-3"]) expect(await isRevoked(jti), jti).to.equal(false);
      });

      it("knows neither another's session nor one that has ended", async () => {
        await create("s1");
        await create("over", { idleEndsAt: nowMs - 1 });
        expect(await rotate("over", "r0")).to.include({ outcome: "missing" });
        expect(await rotate("none", "r0")).to.include({ outcome: "missing" });
        alice = keys.sessionsOf("mallory");
        expect(await rotate("s1", "r0")).to.include({ outcome: "missing" });
      });
    });

    describe("ending", () => {
      it("makes room by the session that began first where several end at the same time", async () => {
        for (const id of ["s1", "s2", "s3"]) await create(id);
        const made = await create("s4", {}, { maxSessions: 3, onLimit: "evictOldest" });
        expect(made).to.deep.include({ outcome: "created", evicted: ["s1"] });
      });

      it("ends one, all but one, or all, with the tokens of those and of nobody else", async () => {
        const records = await Promise.all(["s1", "s2", "s3", "s4"].map(async (id) => (await create(id)).record));
        const revoked = () => Promise.all(records.map(({ access }) => isRevoked(access[0]!.jti)));
        expect(await store.end(alice, { kind: "only", id: "s2" })).to.deep.equal(["s2"]);
        expect(await revoked()).to.deep.equal([false, true, false, false]);
        expect(await store.end(alice, { kind: "only", id: "s2" })).to.deep.equal([]);
        expect(await store.end(alice, { kind: "except", id: "s3" })).to.have.members(["s1", "s4"]);
        expect(await revoked()).to.deep.equal([true, true, false, true]);
        expect(await rotate("s3", "r0")).to.include({ outcome: "rotated" });
        expect(await store.end(alice, { kind: "all", endedAt: 1 })).to.deep.equal(["s3"]);
        expect(await revoked()).to.deep.equal([true, true, true, true]);
        expect(await isRevoked("x-s3-1")).to.equal(true);
        expect(await listed()).to.be.empty;
      });

      it("spares sessions that began later, with their tokens, where it is told to, and none where it is not", async () => {
        const second = Math.floor(nowMs / 1000);
        const began = { earlier: second - 9, then: second - 5, later: second - 4 };
        const sessions = await Promise.all(
          Object.entries(began).map(([id, seconds]) => create(id, { createdAt: seconds * 1000 + 999, current: id })),
        );
        const jtis = sessions.map(({ record }) => record.access[0]!.jti);
        const track = { drop: [], add: ["later", ...jtis].map((jti) => ({ jti, expiresAt: second + 900 })) };
        await store.trackSubject(alice, track);
        const revoked = () => Promise.all([...jtis, "later"].map(isRevoked));
        const ended = await store.end(alice, { kind: "all", endedAt: second - 5, sparesLater: true });
        expect(ended).to.have.members(["earlier", "then"]);
        expect(await revoked()).to.deep.equal([true, true, false, false]);
        expect(await listed()).to.deep.equal(["later"]);
        expect(await store.end(alice, { kind: "all", endedAt: second - 5 })).to.deep.equal(["later"]);
        expect(await listed()).to.be.empty;
      });

      it("does not revoke the refresh token that was just replaced of the session that goes on", async () => {
        const { record } = await create("s1");
        const expiresAt = record.issuedAt + 900;
        await store.trackSubject(alice, { drop: [], add: [{ jti: "r0", expiresAt }, ...record.access] });
        expect(await rotate("s1", "r0")).to.include({ outcome: "rotated" });
        expect(await store.end(alice, { kind: "except", id: "s1" })).to.deep.equal([]);
        expect(await isRevoked("r0")).to.equal(false);
        expect(await rotate("s1", "r0")).to.include({ outcome: "repeated" });
      });

      it("keeps hostile names apart", async () => {
        const names = ["a:b", "*", "__proto__", "{x}", "a b", "\u0000", "\u{1f600}", "constructor"];
        for (const subject of names) {
          const owned = keys.sessionsOf(subject);
          await store.create(owned, { ...creationOf(subject), record: recordOf() });
        }
        for (const [index, subject] of names.entries()) {
          const owned = keys.sessionsOf(subject);
          const other = names[(index + 1) % names.length] ?? "";
          expect(await store.end(owned, { kind: "only", id: other }), subject).to.deep.equal([]);
          expect((await store.list(owned, 0, 10)).map(({ id }) => id)).to.deep.equal([subject]);
        }
      });

      it("returns the members of an organisation, and revokes its tracked tokens", async () => {
        const group = keys.groupOf("acme");
        const { record } = await create("s1", { org: "acme", orgTokens: group.shared });
        const tokens = { add: [...record.access], drop: [] };
        await store.trackGroup(group, tokens, { id: "s1", principal: "al ice" }, record.idleEndsAt);
        await store.trackGroup(group, tokens, { id: "old", principal: "bob" }, nowMs - 1);
        expect(await store.endGroup(group)).to.deep.equal([{ id: "s1", principal: "al ice" }]);
      });
    });

    describe("the live sessions", () => {
      const issuer = "0".repeat(32);
      const live = (): string[] => keys.liveSessions(issuer);
      const keysOf = (name: string): SubjectKeys => keys.sessionsOf(name);

      async function createFor(name: string, id: string, idleEndsAt: number, createdAt = nowMs): Promise<void> {
        const creation = { ...creationOf(id), record: recordOf({ idleEndsAt, endsAt: idleEndsAt, createdAt }) };
        expect(await store.create(keysOf(name), creation), name).to.include({ outcome: "created" });
      }

      /** All parts of the list, and the number of its parts. */
      async function listAll(count: number): Promise<{ subjects: [name: string, sessions: number][]; parts: number }> {
        const subjects: [string, number][] = [];
        let position: LivePosition | undefined;
        for (let parts = 1; parts < 200; parts += 1) {
          const found = await store.subjects(live(), position, count, keysOf);
          subjects.push(...found.subjects.map(({ name, sessions }): [string, number] => [name, sessions]));
          if (found.next === undefined) return { subjects, parts };
          position = found.next;
        }
        throw new Error("the list does not end");
      }

      it("are counted from their beginning to their end, of all subjects", async () => {
        expect(await store.count(live())).to.equal(0);
        await create("s1");
        await create("s2");
        await createFor("bob@example.com", "s3", nowMs + day);
        await createFor("carol", "over", nowMs - 1);
        expect(await store.count(live())).to.equal(3);
        await rotate("s1", "r0");
        expect(await store.count(live())).to.equal(3);
        await store.end(alice, { kind: "only", id: "s1" });
        expect(await store.count(live())).to.equal(2);
        await create("s4", {}, { maxSessions: 1, onLimit: "evictOldest" });
        expect(await store.count(live())).to.equal(2);
        expect(await rotate("s4", "r0")).to.include({ outcome: "rotated" });
        expect(await rotate("s4", "r0", { repeatMs: -1 })).to.include({ outcome: "reused" });
        expect(await store.count(live())).to.equal(1);
        await store.end(keysOf("bob@example.com"), { kind: "all", endedAt: 1 });
        expect(await store.count(live())).to.equal(0);
        expect(await store.count(keys.liveSessions("f".repeat(32)))).to.equal(0);
      });

      it("list each subject once, with the number of its sessions, whatever the length of the parts", async () => {
        const names = ["a b", "bob@example.com", "\u{1f600}", "dave", "{e}"];
        for (const [index, name] of names.entries())
          for (let session = 0; session <= index; session += 1)
            await createFor(name, `s${index}-${session}`, nowMs + day + (session % 2));
        await createFor("over", "over", nowMs - 1);
        const wanted = names.map((name, index): [string, number] => [name, index + 1]);
        for (const count of [1, 2, 1000]) {
          const { subjects, parts } = await listAll(count);
          expect(subjects, `parts of ${count}`).to.have.deep.members(wanted);
          expect(parts).to.be.at.most(1 + Math.ceil(15 / count));
        }
        await store.end(keysOf("dave"), { kind: "all", endedAt: 1 });
        expect((await listAll(3)).subjects.map(([name]) => name)).to.have.members(
          names.filter((one) => one !== "dave"),
        );
      });

      for (const [change, happens] of [
        ["the session that ends first is refreshed", async () => rotate("s1", "r0")],
        ["the session that ends last is refreshed", async () => rotate("s2", "r0")],
        ["the session that ends first is ended", async () => store.end(alice, { kind: "only", id: "s1" })],
        ["the session that ends last is ended", async () => store.end(alice, { kind: "only", id: "s2" })],
        ["a session begins that ends before all", async () => createFor("alice", "s0", nowMs + 500_000, nowMs + hour)],
        ["a session begins that ends after all", async () => createFor("alice", "s3", nowMs + day, nowMs + hour)],
      ] as readonly (readonly [string, () => Promise<unknown>])[])
        for (const count of [1, 2, 3])
          it(`do not miss a subject of which, after ${count} of the list, ${change}`, async () => {
            // In one list with alice, so that their sessions stand between hers.
            const others = Array.from({ length: 2000 }, (_, index) => `user-${index}`)
              .filter((name) => keysOf(name).live === keysOf("alice").live)
              .slice(0, 3);
            for (const [index, name] of others.entries())
              await createFor(name, `other-${index}`, nowMs + 900_000 + 200_000 * index);
            await createFor("alice", "s1", nowMs + 1000_000);
            await createFor("alice", "s2", nowMs + 2000_000);
            const first = await store.subjects(live(), undefined, count, keysOf);
            await happens();
            const listed = first.subjects.map(({ name }) => name);
            let position = first.next;
            while (position !== undefined) {
              const { subjects, next } = await store.subjects(live(), position, 1, keysOf);
              listed.push(...subjects.map(({ name }) => name));
              position = next;
            }
            expect([...new Set(listed)]).to.have.members(["alice", ...others]);
            expect(listed.length, "few are listed again").to.be.at.most(5);
          });

      it("do not miss a subject where sessions that end at the same time are ended during the list", async () => {
        const names = Array.from({ length: 150 }, (_, index) => `user-${index}`);
        const endsAt = nowMs + day;
        await Promise.all(names.map((name) => createFor(name, `s-${name}`, endsAt)));
        const listed = new Set<string>();
        let position: LivePosition | undefined;
        do {
          const { subjects, next } = await store.subjects(live(), position, 3, keysOf);
          for (const { name } of subjects) listed.add(name);
          for (const { name } of subjects.slice(1)) await store.end(keysOf(name), { kind: "only", id: `s-${name}` });
          position = next;
        } while (position !== undefined);
        expect([...listed]).to.have.members(names);
      });

      it("tell the record of one of them, and of none that has ended", async () => {
        const { record } = await create("s1");
        await create("over", { idleEndsAt: nowMs - 1 });
        expect(await store.find(alice, "s1")).to.deep.equal(record);
        for (const id of ["over", "never"]) expect(await store.find(alice, id), id).to.equal(undefined);
        expect(await store.find(keysOf("bob"), "s1")).to.equal(undefined);
      });
    });

    describe("the list", () => {
      it("is in pages, the session that ends last first", async () => {
        for (const [index, id] of ["s1", "s2", "s3"].entries()) await create(id, { idleEndsAt: nowMs + day + index });
        expect((await store.list(alice, 0, 2)).map(({ id }) => id)).to.deep.equal(["s3", "s2"]);
        expect((await store.list(alice, 2, 2)).map(({ id }) => id)).to.deep.equal(["s1"]);
        expect(await store.ids(alice)).to.have.members(["s1", "s2", "s3"]);
      });
    });
  });
}
