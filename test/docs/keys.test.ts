import { expect } from "chai";
import type { UsedKeys } from "../support/used-keys.js";
import { collectUsedKeys } from "../support/used-keys.js";
import { sectionOf } from "./documents.js";

/** One key or channel of the table. */
interface Row {
  readonly pattern: string;
  readonly owner: string;
  readonly type: string;
  readonly lives: string;
}

const rows: readonly Row[] = sectionOf("docs/operations.md", "All keys and channels")
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .flatMap((line) => {
    const [, names = "", owner = "", type = "", , lives = ""] = line.split("|").map((cell) => cell.trim());
    return Array.from(names.matchAll(/`([^`]+)`/g), ([, pattern = ""]) => ({ pattern, owner, type, lives }));
  });

/** A part of a key that says whom or what it is for: plain, or a digest. */
const part = "(?:[A-Za-z0-9_.-]{1,64}|~[A-Za-z0-9_-]{24}|~[0-9a-f]{64})";

describe("the table of keys in docs/operations.md", function () {
  this.timeout(60_000);
  let used: UsedKeys;

  before(async () => {
    used = await collectUsedKeys();
  });

  /** The keys that a row stands for, of the issuers and services there are. */
  function expressionOf({ pattern }: Row): RegExp {
    const issuer = `(?:${used.issuers.join("|")})`;
    const partition = `[achku]:${issuer}:${part}`;
    const meanings: Readonly<Record<string, string>> = {
      "{n}": "\\{(?:\\d|[1-5]\\d|6[0-3])\\}",
      "<issuer>": issuer,
      "<service>": `(?:${used.services.join("|")})`,
      "<partition>": `${partition}(?::${partition})*`,
      "<namespace>": "[A-Za-z0-9_.-]*",
    };
    const usual = pattern.startsWith("auth:") ? ".+" : part;
    const source = pattern
      .split(/(\{n\}|<[a-z]+>)/)
      .map((piece) => (/^[<{]/.test(piece) ? (meanings[piece] ?? usual) : piece.replaceAll(".", "\\.")))
      .join("");
    return new RegExp(`^${source}$`, "s");
  }

  function rowsOf(name: string, isChannel: boolean): Row[] {
    return rows.filter((row) => (row.type === "channel") === isChannel && expressionOf(row).test(name));
  }

  it("has one row for every key that used gates write, with its type", () => {
    expect(used.keys.size).to.be.greaterThan(50);
    for (const [key, { type }] of used.keys) {
      const [row, ...others] = rowsOf(key, false);
      expect(row, key).not.to.equal(undefined);
      expect(others, key).to.deep.equal([]);
      expect(row?.type, key).to.equal(type === "zset" ? "sorted set" : type);
    }
  });

  it("has one row for every channel they listen to", () => {
    for (const channel of used.channels) expect(rowsOf(channel, true), channel).to.have.length(1);
  });

  it("is right that every key has an end", () => {
    for (const [key, { minLeftMs }] of used.keys) expect(minLeftMs, key).to.be.at.least(0);
    for (const { pattern, type, lives } of rows) expect(lives === "", pattern).to.equal(type === "channel");
  });

  it("has no row for a key that no gate uses, unless the row says that it is rare", () => {
    const names = [...used.keys.keys(), ...used.channels];
    const unused = rows.filter((row) => !names.some((name) => expressionOf(row).test(name)));
    expect(unused.filter(({ lives }) => !lives.includes("rare")).map(({ pattern }) => pattern)).to.deep.equal([]);
  });

  it("says of each key whose it is, as the key does", () => {
    for (const { pattern, owner } of rows) {
      if (owner.startsWith("neither: the issuer is in") || owner.startsWith("as the value")) continue;
      if (pattern.startsWith("auth:")) expect(owner).to.include("issuer");
      else {
        const inMessage = owner.includes("in the message");
        expect(owner.includes("issuer"), pattern).to.equal(inMessage || /<issuer>|<partition>/.test(pattern));
        expect(owner.includes("service"), pattern).to.equal(pattern.includes("<service>"));
        expect(owner.startsWith("neither"), pattern).to.equal(!/issuer|service/.test(owner));
      }
    }
  });
});
