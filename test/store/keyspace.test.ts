import { createHash } from "node:crypto";
import { inspect } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";
import { identifiers } from "../support/identifiers.js";

const keys = new Keyspace("", "key-secret");

/** What stands for the issuer of a gate that names none. */
const nobody = "0".repeat(32);

/** Everything that makes a key of an identifier. */
const families: Readonly<Record<string, (space: Keyspace, identifier: string) => string>> = {
  revokedToken: (space, identifier) => space.revokedToken(identifier),
  revokedInput: (space, identifier) => space.revokedInput(identifier),
  subjectCutoff: (space, identifier) => space.subjectCutoff(identifier),
  "quota of a user": (space, identifier) => space.quota("p", space.userPartition(identifier)),
  "quota of an address": (space, identifier) => space.quota("p", space.addressPartition(identifier)),
  "cache key": (space, identifier) => space.cacheEntry("shared", "default", identifier),
  "cache of a user": (space, identifier) => space.cacheEntry(`user:${space.holder(identifier)}`, "default", "k"),
};

/** The part of a key that chooses the slot in Redis Cluster, by the rule of its specification. */
function slotText(key: string): string {
  const open = key.indexOf("{");
  const close = open === -1 ? -1 : key.indexOf("}", open + 1);
  return close <= open + 1 ? key : key.slice(open + 1, close);
}

/** Two texts are one Redis key if their UTF-8 is the same: lone surrogates all become U+FFFD. */
function asBytes(key: string): string {
  return Buffer.from(key, "utf8").toString("latin1");
}

describe("two different identifiers", () => {
  it("are more than 300 here", () => expect(identifiers).to.have.length.above(300));

  for (const [name, make] of Object.entries(families)) {
    it(`never meet in one key: ${name}`, () => {
      const known = new Map<string, string>();
      for (const identifier of identifiers) {
        const key = asBytes(make(keys, identifier));
        expect(known.get(key), `${JSON.stringify(identifier)} meets ${JSON.stringify(known.get(key))}`).to.equal(
          undefined,
        );
        known.set(key, identifier);
      }
    });
  }

  it("never meet across families either", () => {
    const known = new Map<string, string>();
    for (const [name, make] of Object.entries(families)) {
      for (const identifier of identifiers) {
        const key = asBytes(make(keys, identifier));
        const owner = `${name} of ${JSON.stringify(identifier)}`;
        expect(known.get(key), owner).to.equal(undefined);
        known.set(key, owner);
      }
    }
  });

  it("never meet, whatever they are", () => {
    const text = fc.string({ unit: "binary", maxLength: 80 });
    const utf16 = fc.array(fc.nat({ max: 0xffff }), { maxLength: 40 }).map((units) => String.fromCharCode(...units));
    const any = fc.oneof(text, utf16, fc.constantFrom(...identifiers)).filter((one) => one !== "");
    fc.assert(
      fc.property(any, any, fc.constantFrom(...Object.values(families)), (one, other, make) => {
        fc.pre(one !== other);
        return asBytes(make(keys, one)) !== asBytes(make(keys, other));
      }),
      { numRuns: 3000 },
    );
  });

  it("never meet by way of policies, scopes and namespaces", () => {
    const known = new Map<string, string>();
    const names = ["a", "b", "a.b", "a-b", "a_b", "default", "shared", "1"];
    for (const name of names) {
      for (const other of names) {
        for (const identifier of ["a", "b", "a:b", "a.b", "default:a", "b:a", "~a"]) {
          const made = [
            [keys.quota(name, keys.identifier(identifier)), `quota ${name} ${identifier}`],
            [keys.cacheEntry("shared", `${name}.${other}`, identifier), `cache ${name}.${other} ${identifier}`],
            [
              keys.cacheEntry(`user:${keys.identifier(name)}`, other, identifier),
              `user ${name} ${other} ${identifier}`,
            ],
          ] as const;
          for (const [key, owner] of made) {
            expect(known.get(key) ?? owner).to.equal(owner);
            known.set(key, owner);
          }
        }
      }
    }
  });
});

describe("the key of an identifier", () => {
  it("is the same every time, in every process with the same secret", () => {
    const other = new Keyspace("", "key-secret");
    for (const make of Object.values(families)) {
      for (const identifier of identifiers) {
        expect(make(other, identifier)).to.equal(make(keys, identifier));
        expect(make(keys, identifier)).to.equal(make(keys, identifier));
      }
    }
  });

  it("differs with the secret wherever it is not readable", () => {
    const other = new Keyspace("", "another-secret");
    for (const identifier of ["192.0.2.1", "a@b.test", "x:y", "\ud800", "a".repeat(65)])
      expect(other.digest(identifier)).not.to.equal(keys.digest(identifier));
  });

  it("is readable if it is short and plain, and else says nothing of it", () => {
    for (const plain of ["alice", "a.b", "user_1", "A-Z", "9", "a".repeat(64)])
      expect(keys.identifier(plain)).to.equal(plain);
    for (const odd of identifiers.filter((identifier) => !/^[A-Za-z0-9_.-]{1,64}$/.test(identifier))) {
      expect(keys.identifier(odd)).to.match(/^~[A-Za-z0-9_-]{24}$/);
    }
    expect(keys.digest("alice")).to.match(/^~[A-Za-z0-9_-]{24}$/);
  });

  it("is of bounded length and plain text in our own families", () => {
    for (const name of ["revokedInput", "quota of a user", "quota of an address", "cache key", "cache of a user"]) {
      for (const identifier of identifiers)
        expect(families[name]?.(keys, identifier), name).to.match(/^portcullis:[A-Za-z0-9_.:~{}-]{1,200}$/);
    }
  });

  it("is a TypeError for an identifier that is not text", () => {
    for (const wrong of [
      undefined,
      null,
      5,
      ["a"],
      ["a", "b"],
      {},
      { length: 3 },
      true,
      Symbol("a"),
      Buffer.from("a"),
    ]) {
      for (const [name, make] of Object.entries(families))
        expect(() => make(keys, wrong as never), `${name} of ${inspect(wrong)}`).to.throw(TypeError);
    }
  });

  it("is none for the empty text, which would be everybody's", () => {
    for (const [name, make] of Object.entries(families)) expect(() => make(keys, ""), name).to.throw(TypeError);
  });
});

describe("a key of our own", () => {
  it("has a slot that only we choose, whatever braces an identifier has", () => {
    for (const name of ["quota of a user", "quota of an address", "cache key", "cache of a user"]) {
      const tags = new Set<string>();
      for (const identifier of identifiers) {
        const tag = slotText(families[name]?.(keys, identifier) ?? "");
        expect(tag, `${name} of ${JSON.stringify(identifier)}`).to.match(/^(?:\d|[1-5]\d|6[0-3])$/);
        tags.add(tag);
      }
      expect(tags.size, name).to.be.above(40);
    }
  });

  it("spreads evenly over 64 slots, and cannot be aimed at one without the secret", () => {
    const slots = new Map<string, number>();
    const moved = new Keyspace("", "another-secret");
    let same = 0;
    for (let index = 0; index < 6400; index += 1) {
      const tag = slotText(keys.quota("p", `user-${index}`));
      slots.set(tag, (slots.get(tag) ?? 0) + 1);
      if (slotText(moved.quota("p", `user-${index}`)) === tag) same += 1;
    }
    expect(slots.size).to.equal(64);
    for (const count of slots.values()) expect(count).to.be.within(50, 160);
    expect(same).to.be.below(400);
  });

  it("shares its slot with all policies of one partition, so that one script decides about them", () => {
    for (const identifier of identifiers) {
      const partition = keys.identifier(identifier);
      const tags = new Set(
        ["a", "b", "burst", "daily.2", "x-y_z"].map((policy) => slotText(keys.quota(policy, partition))),
      );
      expect(tags.size).to.equal(1);
    }
  });
});

describe("a key that other services share", () => {
  const sha256 = (text: string): string => createHash("sha256").update(Buffer.from(text, "utf16le")).digest("hex");
  const wellFormed = identifiers.filter(
    (identifier) => identifier.isWellFormed() && Buffer.byteLength(identifier) <= 512,
  );

  it("is literal for every well-formed identifier of 1 to 512 bytes, braces included", () => {
    expect(wellFormed).to.have.length.above(200);
    for (const identifier of wellFormed) {
      expect(keys.revokedToken(identifier)).to.equal(`auth:revoked:${identifier}`);
      expect(keys.subjectCutoff(identifier)).to.equal(`auth:cutoff:${identifier}`);
    }
    const longest = "\u00e9".repeat(256);
    expect(keys.revokedToken(longest)).to.equal(`auth:revoked:${longest}`);
  });

  it("is a digest in our own space for every other, by code units", () => {
    for (const identifier of identifiers.filter((one) => !wellFormed.includes(one))) {
      expect(keys.revokedToken(identifier)).to.equal(`portcullis:2:revoked:jti:${nobody}:~${sha256(identifier)}`);
      expect(keys.subjectCutoff(identifier)).to.equal(`portcullis:2:cutoff:subject:${nobody}:~${sha256(identifier)}`);
    }
  });

  it("does not depend on our secret", () => {
    const other = new Keyspace("", "another-secret");
    for (const identifier of identifiers) {
      expect(other.revokedToken(identifier)).to.equal(keys.revokedToken(identifier));
      expect(other.subjectCutoff(identifier)).to.equal(keys.subjectCutoff(identifier));
      expect(other.revokedInput(identifier)).to.equal(keys.revokedInput(identifier));
    }
  });
});

describe("a prefix", () => {
  it("goes before every key and changes nothing else", () => {
    const prefixed = new Keyspace("tenant-1:", "key-secret");
    for (const make of Object.values(families)) {
      for (const identifier of identifiers)
        expect(make(prefixed, identifier)).to.equal(`tenant-1:${make(keys, identifier)}`);
    }
  });
});
