import { expect } from "chai";
import fc from "fast-check";
import { createDeviceTokens } from "../../packages/core/src/login/device.js";
import { normalizeAccount } from "../../packages/core/src/login/identifier.js";
import { Turns } from "../../packages/core/src/login/turns.js";
import { MemoryLoginStore } from "../../packages/core/src/store/memory/logins.js";
import type { UnblockOptions } from "@portcullis/core";
import { openGate } from "./support/gate.js";

describe("the name of an account", () => {
  it("is one in all its spellings", () => {
    const spellings = ["stra\u00dfe", "STRASSE", " Stra\u00dfe\t", "\uff33trasse", "stras\u00adse", "\u202estrasse"];
    expect(new Set(spellings.map(normalizeAccount))).to.deep.equal(new Set(["strasse"]));
    expect(normalizeAccount("a  b")).to.equal("a b");
    expect(normalizeAccount("e\u0301")).to.equal(normalizeAccount("\u00c9"));
    expect(normalizeAccount("\u03c3\u03c2\u03a3")).to.equal("\u03c3\u03c3\u03c3");
  });

  it("is none of what is no text, too long, ill-formed, invisible or has control characters", () => {
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
    const turns = new Turns({ parallel: 1, patienceMs: 60_000, mostWaiting: 10, longestMs: 60_000 });
    const order: string[] = [];
    const first = await turns.take();
    const [second, third] = ["second", "third"].map(async (name) => {
      const release = await turns.take();
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
    expect(await turns.take()).to.be.a("function");
  });

  it("are waited for by so many, and so long, and by nobody who has gone", async () => {
    const turns = new Turns({ parallel: 1, patienceMs: 5, mostWaiting: 2, longestMs: 60_000 });
    const release = await turns.take();
    const gone = new AbortController();
    const waiting = [turns.take(gone.signal), turns.take()];
    expect(await turns.take(), "no room to wait").to.equal(undefined);
    gone.abort();
    expect(await Promise.all(waiting)).to.deep.equal([undefined, undefined]);
    expect(await turns.take(gone.signal)).to.equal(undefined);
    release?.();
    expect(await turns.take()).to.be.a("function");
  });
});

describe("a turn", () => {
  it("ends after its longest time, and is then given to the next", async () => {
    const turns = new Turns({ parallel: 1, patienceMs: 60_000, mostWaiting: 10, longestMs: 5 });
    const first = await turns.take();
    const second = await turns.take();
    expect(second).to.be.a("function");
    // The first has ended already: giving it back frees nothing.
    first?.();
    const order: string[] = [];
    const third = turns.take().then((release) => (order.push("third"), release));
    second?.();
    (await third)?.();
    expect(order).to.deep.equal(["third"]);
  });
});

describe("the in-process login store", () => {
  it("keeps a block through a flood of other keys", async function () {
    this.timeout(30_000);
    let now = 0;
    const store = new MemoryLoginStore({ now: () => now, counters: 5000 });
    const limit = (key: string, most: number) => ({ key, limit: most, windowMs: 60_000 });
    const victim = { address: undefined, pair: limit("victim", 5), pardonKey: "p", account: undefined };
    for (let index = 0; index < 5; index += 1) await store.charge(victim);
    for (let index = 0; index < 200_000; index += 1) {
      now += 0.01;
      void store.charge({ ...victim, pair: limit(`flood${index}`, 5) });
    }
    expect((await store.charge(victim)).refusedBy).to.equal("pair");
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
    [{ account, parallel: 0 }, /parallel must be a whole number from 1/],
    [{ account, device: {} }, /device.secret must be at least 32 bytes/],
    [{ account, device: { secret: "short" } }, /device.secret must be at least 32 bytes/],
    [{ account, device: { secret: "s".repeat(32), cookie: "a b" } }, /device.cookie must be the name/],
    [{ account, name: "a:b" }, /name must be 1 to 64/],
    [{ account, onDeny: "ignore" }, /onDeny must be one of/],
  ];

  it("says what is wrong with an option when it is made", async () => {
    const gate = openGate({});
    for (const [options, says] of wrong) expect(() => gate.throttleLogin(options as Options)).to.throw(says);
    for (const whom of [
      {},
      { account: "" },
      { account: 7 },
      { ip: "" },
      { account: "a", name: "a b" },
      { user: "a" },
    ]) {
      const refused = await gate.logins.unblock(whom as UnblockOptions).catch((error: unknown) => error);
      expect(refused, JSON.stringify(whom)).to.include({ code: "option_invalid" });
    }
    await gate.close();
  });
});
