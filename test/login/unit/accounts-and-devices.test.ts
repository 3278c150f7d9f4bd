import { expect } from "chai";
import fc from "fast-check";
import { createDeviceTokens } from "../../../packages/core/src/login/device-token.js";
import { foldAccount, normalizeAccount } from "../../../packages/core/src/login/account-name.js";
import { Semaphore } from "../../../packages/core/src/login/semaphore.js";
import { MemoryLoginStore } from "../../../packages/core/src/store/memory/logins.js";
import { rejectionOf } from "../../support/rejection.js";
import type { UnblockOptions } from "@portcullis/core";
import { openGate } from "../../support/fake-gate.js";

describe("the name of an account", () => {
  it("is one in all its spellings", () => {
    const spellings = ["stra\u00dfe", "STRASSE", " Stra\u00dfe\t", "\uff33trasse", "stras\u00adse", "\u202estrasse"];
    expect(new Set(spellings.map(normalizeAccount))).to.deep.equal(new Set(["strasse"]));
    expect(normalizeAccount("a  b")).to.equal("a b");
    expect(normalizeAccount("e\u0301")).to.equal(normalizeAccount("\u00c9"));
    expect(normalizeAccount("\u03c3\u03c2\u03a3")).to.equal("\u03c3\u03c3\u03c3");
  });

  it("is not a value that is no text, too long, ill-formed, invisible or has control characters", () => {
    for (const name of [
      undefined,
      null,
      1,
      {},
      [],
      ["a"],
      "",
      " \t",
      "a".repeat(513),
      "a\u0000",
      "\u001b[1m",
      "\udc00",
    ])
      expect(normalizeAccount(name), JSON.stringify(name)).to.equal(undefined);
    expect(normalizeAccount("\u200b\ufeff")).to.equal(undefined);
  });

  it("is its own normal form, whatever it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (name) => {
        const account = normalizeAccount(name);
        if (account !== undefined) expect(normalizeAccount(account)).to.equal(account);
      }),
    );
  });
});

describe("the name that a database may find an account by", () => {
  const fold = (name: string): string => foldAccount(normalizeAccount(name) ?? "");

  it("is one for all names that a collation without accents and case has equal", () => {
    const spellings: readonly [account: string, names: readonly string[]][] = [
      [
        "alice",
        [
          "\u00e1l\u00ef\u0107\u00e9",
          "\u0100LICE",
          "al\u0131ce",
          "a\u0142ice",
          "alice\u0301",
          "\ud83c\udd50lice",
          "al\u0640ice",
        ],
      ],
      [
        "alice",
        [
          "al\u0365ce",
          "al\u0345ic\u0345\u0345e",
          "al\u00b7ice",
          "alice\ud83d\ude00",
          "alice\u00b4",
          "\u24d0lice",
          "\uff21lice",
          "alice\u05b0",
          "alice\ufff9",
        ],
      ],
      ["bob1", ["bob\u0661", "bob1\u0301", "bob\u00b9", "b\u00f8b1", "bob\u09e7", "bob\u2776"]],
      ["\u00e6gir", ["aegir", "\u00c6gir", "\u01fdgir"]],
      ["strasse", ["stra\u00dfe", "strase", "STRA\u1e9eE", "\u015ftr\u00e4sse"]],
      ["\u03b1\u03c9", ["\u03ac\u03ce", "\u0386\u03a9", "\u1f00\u1ff7"]],
      ["\u0438\u0435", ["\u0439\u0451", "\u0419\u0401", "\u0438\u0306\u0435"]],
      ["dan", ["\u0111an", "\u00d0an", "\u00f0an"]],
      ["oeuvre", ["\u0153uvre", "\u0152uvre"]],
    ];
    for (const [account, names] of spellings)
      for (const name of names) expect(fold(name), JSON.stringify(name)).to.equal(fold(account));
  });

  it("is one for every letter that the root collation has equal to plain ones", () => {
    const collator = new Intl.Collator("en", { sensitivity: "base" });
    for (let code = 0xa0; code < 0x3000; code += 1) {
      const letter = String.fromCharCode(code);
      if (!/[\p{Script=Latin}\p{N}\p{Script=Inherited}]/u.test(letter)) continue;
      const base = Array.from("0123456789abcdefghijklmnopqrstuvwxyz").find(
        (one) => collator.compare(one, letter) === 0,
      );
      if (base !== undefined) expect(fold(`x${letter}y`), code.toString(16)).to.equal(fold(`x${base}y`));
      else if (collator.compare(`x${letter}y`, "xy") === 0)
        expect(fold(`x${letter}y`), code.toString(16)).to.equal("xy");
    }
  });

  it("keeps accounts apart whose marks are letters, and those of other letters", () => {
    const groups: readonly (readonly string[])[] = [
      ["\u0643\u064f\u062a\u0628", "\u0643\u064e\u062a\u0628", "\u0643\u062a\u0628"],
      ["\u05d1\u05bc", "\u05d1"],
      ["\u0915", "\u0915\u093f", "\u0915\u0940", "\u0915\u0941"],
      ["\u0e01\u0e35", "\u0e01\u0e34", "\u0e01"],
      ["\uac00", "\uac01", "\uac02"],
      ["\u304b", "\u304c"],
      ["\ud842\udfb7\u91ce", "\u91ce"],
      ["\ud83d\ude00", "\ud83d\ude01"],
      ["alice", "alicia", "al-ice", "al.ice"],
    ];
    for (const names of groups) expect(new Set(names.map(fold)).size, JSON.stringify(names)).to.equal(names.length);
  });

  it("is never empty", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (name) => {
        const account = normalizeAccount(name);
        if (account === undefined) return;
        const folded = foldAccount(account);
        expect(folded).to.not.equal("");
      }),
    );
  });
});

describe("device tokens", () => {
  let now = 1_700_000_000_000;
  const tokens = createDeviceTokens({ secret: "s".repeat(32), lifetimeMs: 86_400_000, now: () => now });

  it("name a device to the account that they were issued to, until they expire", () => {
    const token = tokens.issue("alice");
    const device = tokens.read(token, "alice");
    expect(device).to.match(/^[\w-]{22}$/);
    expect(tokens.issue("alice")).to.not.equal(token);
    expect(tokens.read(token, "bob")).to.equal(undefined);
    now += 86_399_000;
    expect(tokens.read(token, "alice")).to.equal(device);
    now += 1_000;
    expect(tokens.read(token, "alice")).to.equal(undefined);
  });

  it("are nothing if anything about them is changed", () => {
    const token = tokens.issue("alice");
    for (let at = 0; at < token.length; at += 1) {
      const other = token[at] === "A" ? "B" : "A";
      const changed = token.slice(0, at) + other + token.slice(at + 1);
      // The last character of a MAC has bits that mean nothing.
      if (at < token.length - 1) expect(tokens.read(changed, "alice"), changed).to.equal(undefined);
    }
    for (const junk of [undefined, null, 7, [], {}, "", "..", `${token}.`, token.repeat(1000)])
      expect(tokens.read(junk, "alice")).to.equal(undefined);
    const others = createDeviceTokens({ secret: "t".repeat(32), lifetimeMs: 1000, now: () => now });
    expect(others.read(token, "alice")).to.equal(undefined);
  });
});

describe("turns", () => {
  it("are taken in the order of asking, and given back once", async () => {
    const semaphore = new Semaphore({ parallel: 1, waitTimeoutMs: 60_000, maxWaiting: 10, maxHoldMs: 60_000 });
    const order: string[] = [];
    const first = await semaphore.acquire();
    const [second, third] = ["second", "third"].map(async (name) => {
      const release = await semaphore.acquire();
      order.push(name);
      return release;
    });
    first?.();
    first?.();
    const next = await second;
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).to.deep.equal(["second"]);
    next?.();
    (await third)?.();
    expect(order).to.deep.equal(["second", "third"]);
    expect(await semaphore.acquire()).to.be.a("function");
  });

  it("are waited for by so many, and so long, and by nobody who has gone", async () => {
    const semaphore = new Semaphore({ parallel: 1, waitTimeoutMs: 5, maxWaiting: 2, maxHoldMs: 60_000 });
    const release = await semaphore.acquire();
    const gone = new AbortController();
    const waiting = [semaphore.acquire(gone.signal), semaphore.acquire()];
    expect(await semaphore.acquire(), "no room to wait").to.equal(undefined);
    gone.abort();
    expect(await Promise.all(waiting)).to.deep.equal([undefined, undefined]);
    expect(await semaphore.acquire(gone.signal)).to.equal(undefined);
    release?.();
    expect(await semaphore.acquire()).to.be.a("function");
  });
});

describe("a turn", () => {
  it("ends after its longest time, and is then given to the next", async () => {
    const semaphore = new Semaphore({ parallel: 1, waitTimeoutMs: 60_000, maxWaiting: 10, maxHoldMs: 5 });
    const first = await semaphore.acquire();
    const second = await semaphore.acquire();
    expect(second).to.be.a("function");
    // The first has ended already: giving it back frees nothing.
    first?.();
    const order: string[] = [];
    const third = semaphore.acquire().then((release) => (order.push("third"), release));
    second?.();
    (await third)?.();
    expect(order).to.deep.equal(["third"]);
  });
});

describe("the in-process login store", () => {
  it("keeps a block through a flood of other keys", async function () {
    this.timeout(30_000);
    let now = 0;
    const store = new MemoryLoginStore({ now: () => now, counters: 1000 });
    const limit = (key: string, most: number) => ({ key, limit: most, windowMs: 60_000 });
    const victim = {
      address: limit("home", 30),
      accountAndIp: { ...limit("victim", 5), spelling: "s" },
      resetKey: "p",
      account: undefined,
    };
    for (let index = 0; index < 5; index += 1) await store.count(victim);
    for (let index = 0; index < 40_000; index += 1) {
      now += 0.05;
      const address = limit(`address${index % 4000}`, 30);
      void store.count({ ...victim, address, accountAndIp: { ...limit(`flood${index}`, 5), spelling: "s" } });
    }
    expect((await store.count(victim)).refusedBy).to.equal("pair");
  });

  it("counts attempts also where every counter that it has room for refuses", async () => {
    const store = new MemoryLoginStore({ now: () => 0, counters: 2000 });
    const limit = (key: string, most: number) => ({ key, limit: most, windowMs: 60_000 });
    const ask = (address: string, account: string, most: number) =>
      store.count({
        address: limit(address, most),
        accountAndIp: { ...limit(`${account} at ${address}`, most), spelling: "s" },
        resetKey: "p",
        account: undefined,
      });
    for (let index = 0; index < 4000; index += 1) await ask(`address${index}`, "anybody", 1);
    const seen = [];
    for (let index = 0; index < 20; index += 1) seen.push((await ask("fresh", "victim", 5)).refusedBy);
    // Five, or by chance a few more, where one of its own counters made room.
    expect(seen.filter((refusedBy) => refusedBy === undefined).length).to.be.within(5, 10);
  });
});

describe("throttleLogin()", () => {
  const account = (): string => "alice";
  type Options = Parameters<ReturnType<typeof openGate>["throttleLogin"]>[0];
  const wrong: [options: unknown, says: RegExp][] = [
    [{}, /account must be a function .* such as/],
    [{ account: "alice" }, /account must be a function/],
    [{ account, acount: 1 }, /did you mean account/],
    [{ account, pair: { limit: 0 } }, /pair.limit must be a whole number from 1/],
    [{ account, ip: { window: "0s" } }, /ip.window must be a duration/],
    [{ account, ip: { limits: 4 } }, /did you mean limit/],
    [{ account, accountLimit: 5 }, /accountLimit must be an object/],
    [{ account, onAccountLimit: "block" }, /must be one of "delay", "step-up"/],
    [{ account, onAccountLimit: "step-up", pace: "1s" }, /pace has no meaning/],
    [{ account, onStoreError: "allow" }, /must be one of "local", "deny"/],
    [{ account, outcome: "2xx" }, /outcome must be one of "said", "status"/],
    [{ account, parallel: 0 }, /parallel must be a whole number from 1/],
    [{ account, device: {} }, /device.secret must be at least 32 bytes/],
    [{ account, device: { secret: "short" } }, /device.secret must be at least 32 bytes/],
    [{ account, device: { secret: "s".repeat(32), cookie: "a b" } }, /device.cookie must be the name/],
    [{ account, name: "a:b" }, /name must be 1 to 64/],
    [{ account, onDeny: "ignore" }, /onDeny must be one of/],
  ];

  it("reports a wrong option when it is created", async () => {
    const gate = openGate({});
    for (const [options, says] of wrong) expect(() => gate.throttleLogin(options as Options)).to.throw(says);
    for (const whom of [
      {},
      { account: "" },
      { account: 7 },
      { ip: "" },
      { ip: "192.0.2.300" },
      { ip: "192.0.2.0/24" },
      { account: "a", name: "a b" },
      { user: "a" },
    ]) {
      const refused = await rejectionOf(gate.logins.unblock(whom as UnblockOptions));
      expect(refused, JSON.stringify(whom)).to.include({ code: "option_invalid" });
    }
    await gate.close();
  });
});
