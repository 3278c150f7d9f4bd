import { expect } from "chai";
import fc from "fast-check";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";

const text = fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom("{", "}", ":", "a:{1}:b", "portcullis:2:cache:"));

describe("the key of a lease on a cache entry", () => {
  it("is no key of a value, stands in the slot of the entry, and under no prefix of caches", () => {
    const place = fc.record({ prefix: text, service: fc.constantFrom("default", "orders", "~digest"), scope: text });
    fc.assert(
      fc.property(place, fc.constantFrom("", "a", "a.b"), text, text, ({ prefix, service, scope }, ns, key, owner) => {
        const keys = new Keyspace(prefix, "secret", { service });
        const entry = keys.cacheEntry(`user:${keys.identifier(scope)}`, ns, key);
        const lease = Keyspace.cacheLease(entry);
        const withdrawal = Keyspace.cacheWithdrawal(entry, keys.identifier(owner));
        expect(new Set([entry, lease, withdrawal]).size).to.equal(3);
        for (const other of [lease, withdrawal]) {
          expect(other.startsWith(prefix)).to.equal(true);
          expect(keys.cachePrefixes().some((one) => other.startsWith(one))).to.equal(false);
          if (!/[{}]/.test(prefix)) expect(tagOf(other)).to.equal(tagOf(entry));
        }
      }),
    );
  });

  it("is the same as in older releases, which lease in the same Redis during a rolling deploy", () => {
    const entry = "p:portcullis:2:cache:orders:a.b:{7}:user:i:alice:k";
    expect(Keyspace.cacheLease(entry)).to.equal("p:portcullis:2:making:orders:a.b:{7}:user:i:alice:k");
    expect(Keyspace.cacheWithdrawal(entry, "owner")).to.equal("p:portcullis:2:withdrawn:orders:a.b:{7}:owner");
  });

  it("exists for entries alone: any other key throws", () => {
    const keys = new Keyspace("p:", "secret");
    for (const key of [keys.cacheGeneration("t:tag"), keys.quota("p", "a"), "free text", ""])
      for (const make of [() => Keyspace.cacheLease(key), () => Keyspace.cacheWithdrawal(key, "o")])
        expect(make).to.throw(TypeError, "only a cache entry has a lease");
  });
});

function tagOf(key: string): string | undefined {
  return /\{([^}]*)\}/.exec(key)?.[1];
}
