import { randomBytes } from "node:crypto";
import { expect } from "chai";
import type { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import type { NewOneTimeValue, OneTimeStore } from "../../../packages/core/src/store/ports/one-time.js";

/** A store whose values end at a time that the test chooses. */
export interface OpenedOneTimeStore {
  readonly store: OneTimeStore;
  /** Resolves when so much of the store's time has passed. */
  readonly pass: (ms: number) => Promise<void>;
}

const bucket = "b";

/** A value of this subject; the keys of a bucket share a hash slot. */
export function newValue(
  keys: Keyspace,
  { subject, content = "content", ttlMs = 60_000 }: { subject?: string; content?: string; ttlMs?: number } = {},
): NewOneTimeValue {
  return {
    key: keys.coordination("one-time", bucket, randomBytes(32).toString("base64url")),
    subjectKey: subject === undefined ? undefined : keys.coordination("one-time", bucket, `${subject}:purpose`),
    ...{ content, ttlMs, maxOutstanding: 3 },
  };
}

export function newConsumption(): string {
  return randomBytes(16).toString("base64url");
}

/** The contract of {@link OneTimeStore}. */
export function describeOneTimeStore(name: string, open: () => OpenedOneTimeStore, keys: Keyspace): void {
  describe(name, () => {
    it("gives a value to one of many consumers, and to nobody later", async () => {
      const { store } = open();
      const value = newValue(keys);
      await store.issue(value);
      const found = await Promise.all(Array.from({ length: 50 }, () => store.consume(value.key, newConsumption())));
      expect(found.filter((content) => content !== undefined)).to.deep.equal(["content"]);
      expect(await store.consume(value.key, newConsumption())).to.equal(undefined);
      expect(await store.peek(value.key)).to.equal(undefined);
    });

    it("repeats its answer to the consumption that got the value, and to no other", async () => {
      const { store } = open();
      const value = newValue(keys, { content: "\u00e9\u0000\n\ud83d\ude00 {x}" });
      await store.issue(value);
      const [first, other] = [newConsumption(), newConsumption()];
      expect(await store.consume(value.key, first)).to.equal(value.content);
      expect(await store.consume(value.key, other)).to.equal(undefined);
      expect(await store.consume(value.key, first)).to.equal(value.content);
      expect(await store.consume(value.key, other)).to.equal(undefined);
    });

    it("lets a value be read without its end", async () => {
      const { store } = open();
      const value = newValue(keys);
      expect(await store.peek(value.key)).to.equal(undefined);
      await store.issue(value);
      for (let time = 1; time <= 3; time += 1) expect(await store.peek(value.key)).to.equal("content");
      expect(await store.consume(value.key, newConsumption())).to.equal("content");
    });

    it("ends a value with its lifetime, and says when that is", async () => {
      const { store, pass } = open();
      const value = newValue(keys, { ttlMs: 1000, subject: "ends" });
      const before = Date.now();
      const { expiresAt } = await store.issue(value);
      expect(expiresAt).to.be.within(before + 500, Date.now() + 1500);
      expect(await store.peek(value.key)).to.equal("content");
      await pass(1100);
      expect(await store.peek(value.key)).to.equal(undefined);
      expect(await store.consume(value.key, newConsumption())).to.equal(undefined);
      expect(await store.revoke(value.subjectKey ?? "")).to.equal(0);
    });

    it("ends all values of a subject at once, and none of another", async () => {
      const { store } = open();
      const [one, two, other, nobody] = [
        newValue(keys, { subject: "alice" }),
        newValue(keys, { subject: "alice" }),
        newValue(keys, { subject: "bob" }),
        newValue(keys),
      ];
      for (const value of [one, two, other, nobody]) await store.issue(value);
      expect(await store.revoke(one.subjectKey ?? "")).to.equal(2);
      expect(await store.revoke(one.subjectKey ?? "")).to.equal(0);
      for (const { key } of [one, two]) expect(await store.consume(key, newConsumption())).to.equal(undefined);
      for (const { key } of [other, nobody]) expect(await store.consume(key, newConsumption())).to.equal("content");
    });

    it("keeps at most so many values of a subject: the oldest goes, and consumed ones do not count", async () => {
      const { store } = open();
      const values = Array.from({ length: 6 }, () => newValue(keys, { subject: "carol" }));
      const dropped: number[] = [];
      for (const value of values.slice(0, 3)) dropped.push((await store.issue(value)).dropped);
      expect(await store.consume(values[2]?.key ?? "", newConsumption())).to.equal("content");
      for (const value of values.slice(3)) dropped.push((await store.issue(value)).dropped);
      expect(dropped).to.deep.equal([0, 0, 0, 0, 1, 1]);
      const found = await Promise.all(values.map(({ key }) => store.peek(key)));
      expect(found.map((content) => content !== undefined)).to.deep.equal([false, false, false, true, true, true]);
      expect(await store.revoke(values[0]?.subjectKey ?? "")).to.equal(3);
    });

    it("does nothing by an issue that comes twice", async () => {
      const { store } = open();
      const value = newValue(keys, { subject: "dora" });
      await store.issue(value);
      expect((await store.issue(value)).dropped).to.equal(0);
      expect(await store.revoke(value.subjectKey ?? "")).to.equal(1);
    });

    it("repeats the answer to a consumption after the subject's values were revoked", async () => {
      const { store } = open();
      const value = newValue(keys, { subject: "erin" });
      await store.issue(value);
      const consumption = newConsumption();
      await store.consume(value.key, consumption);
      expect(await store.revoke(value.subjectKey ?? "")).to.equal(0);
      expect(await store.consume(value.key, consumption)).to.equal("content");
    });
  });
}
