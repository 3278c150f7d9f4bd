import { createHash } from "node:crypto";
import { expect } from "chai";
import fc from "fast-check";
import { IssuerScope } from "../../packages/core/src/auth/issuer-scope.js";
import { SessionEvents } from "../../packages/core/src/sessions/events.js";
import type { SessionEnd } from "../../packages/core/src/sessions/events.js";
import type { ChannelListener } from "../../packages/core/src/store/ports/channels.js";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";
import { silentLogger } from "../support/logger.js";
import { isSoak } from "../support/soak.js";
import { identifiers } from "../support/identifiers.js";

const id = "https://id.example.com";
const port = `${id}:8443`;
const partners = "https://partners.example.net";

const digestOf = (issuer: string): string => createHash("sha256").update(issuer).digest("hex").slice(0, 32);

/** Issuers that are near each other, or that look like something of ours. */
const issuers: readonly string[] = [
  ...[id, port, `${id}:84`, `${id}/`, partners, "a", "a:b", "b", "0", "undefined", "0".repeat(32), "\u00e9", "e\u0301"],
  ...["\ud800", "\udc00", "\ufffd", JSON.stringify([id, partners].sort()), JSON.stringify([false, id, partners]), "[]"],
  ...["[true]", digestOf(id), `iss-${digestOf(id)}.`, `iss-${digestOf(id)}.a`, "\u00ff", "\u00ff\u0000\u00d8"],
];

/** Names that could be read as something else: another issuer's, two parts, a digest, a number, a slot. */
const names: readonly string[] = [
  ...["42", "a", "A", "a:b", "8443:acme", "acme", ":acme", "{a}", "}{", "0:a", "1:a", "a:1:b", '["a"]', '{"a":1}'],
  ...["\u00e9", "e\u0301", "\ud800", "\udc00", "\ufffd", " ", "a ", "-", "~a", "user", "shared", "u:a", "a".repeat(65)],
  ...[id, partners, "0".repeat(32), "nobody"].flatMap((issuer) => {
    const digest = issuer === "0".repeat(32) ? issuer : digestOf(issuer);
    return [`iss-${digest}.`, `iss-${digest}.42`, `iss-${digest}.iss-${digest}.42`, `${digest}:42`, digest];
  }),
  ...identifiers.slice(0, 60),
];

/** A gate on the Redis of all, and who it may hear of. */
interface Gate {
  readonly name: string;
  /** The issuers whose tokens it has; undefined: of any, which it cannot tell apart. */
  readonly accepts: readonly string[] | undefined;
  readonly scope: IssuerScope;
  readonly service: string;
  /** Whose addresses, headers and logins it counts, by the documents. */
  readonly home: string;
}

function gate(name: string, service: string, home: string, accepts: readonly string[] | undefined, scope: IssuerScope) {
  return { name, service, home, accepts, scope };
}

const shops = [id, partners];
const gates: readonly Gate[] = [
  gate("has the shared keys", "shop", id, [id], new IssuerScope({ known: [id], shared: id })),
  gate("is another service of that issuer", "admin", id, [id], new IssuerScope({ known: [id], shared: id })),
  gate(
    "has several issuers, one that of the shared keys",
    "shop",
    id,
    shops,
    new IssuerScope({ known: shops, shared: id }),
  ),
  gate("has the issuer on another port", "shop", port, [port], new IssuerScope({ known: [port], shared: false })),
  gate("has partners", "shop", partners, [partners], new IssuerScope({ known: [partners], shared: false })),
  gate("has several issuers and none of the shared keys", "shop", "port, partners", [port, partners], several()),
  gate("accepts issuers by a function", "admin", "any", issuers, new IssuerScope({ open: true, shared: false })),
  gate("names no issuer", "shop", "none", undefined, new IssuerScope({ shared: false })),
];

function several(): IssuerScope {
  return new IssuerScope({ known: [port, partners], shared: false });
}

/** Somebody, or something, that a token names at a gate. */
interface Identity {
  readonly gate: Gate;
  readonly issuer: string;
  readonly name: string;
  readonly other: string;
}

/** The literal keys are of well-formed text up to 512 bytes. */
const isLiteral = (name: string): boolean => name.isWellFormed() && Buffer.byteLength(name) <= 512;
const isShared = ({ gate: { scope }, issuer, name }: Identity): boolean =>
  scope.sharing === scope.digest(issuer) && isLiteral(name);
const issuerOf = ({ gate: { accepts }, issuer }: Identity): string =>
  accepts === undefined ? "none" : `iss ${issuer}`;
const qualified = ({ gate: { scope }, issuer, name }: Identity): string => scope.qualify(issuer, name);

/** What of an identity makes a key, and whose the key is by the documents. */
type Family = (keys: Keyspace, one: Identity) => readonly [key: string, whose: readonly unknown[]];

const families: Readonly<Record<string, Family>> = {
  "limit per user": (keys, one) => [keys.quota("p", keys.userPartition(qualified(one))), [issuerOf(one), one.name]],
  "limit per claim": (keys, one) => [
    keys.quota("p", keys.claimPartition(one.issuer, one.other, one.name)),
    [issuerOf(one), one.other, one.name],
  ],
  "limit per claim and user": (keys, one) => [
    keys.quota("p", `${keys.claimPartition(one.issuer, "c", one.other)}:${keys.userPartition(qualified(one))}`),
    [issuerOf(one), one.other, one.name],
  ],
  "limit per address": (keys, one) => [keys.quota("p", keys.addressPartition(one.name)), [one.gate.home, one.name]],
  "limit per header": (keys, one) => [
    keys.quota("p", keys.headerPartition(one.other, one.name)),
    [one.gate.home, one.other.toLowerCase(), one.name],
  ],
  "limit by a function": (keys, one) => [keys.quota("p", keys.customPartition(one.name)), [one.gate.home, one.name]],
  "cache of a user": (keys, one) => [
    keys.cacheEntry(`user:${keys.holder(qualified(one))}`, "n", one.other),
    [one.gate.service, issuerOf(one), one.name, one.other],
  ],
  "cache of a tenant": (keys, one) => [
    keys.cacheEntry(`tenant:${keys.holder(qualified(one))}`, "n", one.other),
    [one.gate.service, issuerOf(one), one.name, one.other],
  ],
  "generation of a user": (keys, one) => [
    keys.cacheGeneration(`s:user:${keys.holder(qualified(one))}:n`),
    [one.gate.service, issuerOf(one), one.name],
  ],
  "sessions of a user": (keys, one) => [keys.sessionsOf(qualified(one)).index, [issuerOf(one), one.name]],
  "tokens of a user": (keys, one) => [keys.sessionsOf(qualified(one)).shared, [issuerOf(one), one.name, isShared(one)]],
  "members of an organisation": (keys, one) => [keys.groupOf(qualified(one)).members, [issuerOf(one), one.name]],
  "tokens of an organisation": (keys, one) => [
    keys.groupOf(qualified(one)).shared,
    [issuerOf(one), one.name, isShared(one)],
  ],
  "revoked token": (keys, one) => [keys.revokedToken(qualified(one)), [issuerOf(one), one.name, isShared(one)]],
  "revoked token without jti": (keys, one) => [keys.revokedInput(one.name, one.issuer), [issuerOf(one), one.name]],
  "cut-off of a user": (keys, one) => [keys.subjectCutoff(qualified(one)), [issuerOf(one), one.name, isShared(one)]],
  "cut-off of a session": (keys, one) => [keys.sessionCutoff(qualified(one)), [issuerOf(one), one.name]],
  "cut-off of an organisation": (keys, one) => [keys.groupCutoff(qualified(one)), [issuerOf(one), one.name]],
  "use of a logout token": (keys, one) => [keys.logoutToken(one.issuer, one.name), [issuerOf(one), one.name]],
  "use of a proof": (keys, one) => [keys.proof(one.other, one.name), [one.gate.home, one.other, one.name]],
  "login of an account": (keys, one) => [
    keys.login("login", "account", keys.digest(one.name)),
    [one.gate.home, one.name],
  ],
  "login at an address": (keys, one) => [
    keys.login("login", "pair", keys.digest(one.name), keys.digest(one.other)),
    [one.gate.home, one.name, one.other],
  ],
  "failed logins": (keys, one) => [
    keys.failedLogins(one.name),
    [one.gate.home, one.name, one.gate.scope.sharing === one.gate.scope.home && isLiteral(one.name)],
  ],
  "rules of operators": (keys, one) => [keys.limitOverrides(), [one.gate.home]],
  "who asks most": (keys, one) => [keys.topKeys("p")[0], [one.gate.home]],
};

const keyspaces = new Map(
  gates.map((one) => [
    one,
    new Keyspace("", "secret", {
      issuers: one.scope,
      service: one.service,
      shared: { areOurs: true, isPresumed: false, resolved: () => undefined },
    }),
  ]),
);

/** Two texts are one Redis key if their UTF-8 is the same. */
const asBytes = (key: string): string => Buffer.from(key, "utf8").toString("latin1");

/** Checks that keys are one where the documents say so, and nowhere else. */
class Meetings {
  readonly #owners = new Map<string, string>();
  readonly #keys = new Map<string, string>();

  add(one: Identity): void {
    for (const [family, make] of Object.entries(families)) {
      const [key, whose] = make(keyspaces.get(one.gate)!, one);
      const owner = JSON.stringify([family, ...whose]);
      const bytes = asBytes(key);
      const [known, knownKey] = [this.#owners.get(bytes) ?? owner, this.#keys.get(owner) ?? bytes];
      // Hundreds of thousands of these: an assertion takes longer than to make the key.
      if (known !== owner) expect(known, `${key} of the gate that ${one.gate.name}`).to.equal(owner);
      if (knownKey !== bytes) expect(knownKey, `${owner} at the gate that ${one.gate.name}`).to.equal(bytes);
      this.#owners.set(bytes, owner);
      this.#keys.set(owner, bytes);
    }
  }

  get size(): number {
    return this.#owners.size;
  }
}

const issuersAt = ({ accepts }: Gate): readonly string[] => accepts ?? issuers;

describe("identities of several gates on one Redis", () => {
  it("meet in no key unless they are the same: all that look alike", () => {
    const meetings = new Meetings();
    for (const one of gates)
      for (const issuer of issuersAt(one))
        for (const [index, name] of names.entries())
          meetings.add({ gate: one, issuer, name, other: names[(index * 7) % names.length]! });
    expect(meetings.size).to.be.above(40_000);
  }).timeout(60_000);

  it("meet in no key unless they are the same: any texts", () => {
    const text = fc
      .oneof(
        fc.string({ unit: "binary", minLength: 1, maxLength: 40 }),
        fc
          .array(fc.nat({ max: 0xffff }), { minLength: 1, maxLength: 20 })
          .map((units) => String.fromCharCode(...units)),
        fc.integer().map(String),
        fc.constantFrom(...names),
        fc
          .tuple(fc.constantFrom(...issuers), fc.constantFrom(...names))
          .map(([iss, name]) => `iss-${digestOf(iss)}.${name}`),
        fc.tuple(fc.constantFrom(...names), fc.constantFrom(...names)).map((two) => two.join(":")),
      )
      .filter((one) => one !== "");
    const identity = fc
      .constantFrom(...gates)
      .chain((one) =>
        fc.record({ gate: fc.constant(one), issuer: fc.constantFrom(...issuersAt(one)), name: text, other: text }),
      );
    fc.assert(
      fc.property(fc.array(identity, { minLength: 20, maxLength: 40 }), (identities) => {
        const meetings = new Meetings();
        for (const one of identities) meetings.add(one);
        // The same names everywhere: who differs by the gate or the issuer alone.
        const [{ name, other }] = identities as [Identity];
        for (const one of gates)
          for (const issuer of issuersAt(one).slice(0, 3)) meetings.add({ gate: one, issuer, name, other });
      }),
      { numRuns: isSoak ? 150 : 60, seed: 15 },
    );
  }).timeout(60_000);

  it("have one text that all gates understand, and each gate its own", () => {
    for (const from of gates)
      for (const to of gates)
        for (const issuer of issuersAt(from))
          for (const name of names) {
            const universal = from.scope.universal(from.scope.qualify(issuer, name));
            const sameIssuer = (from.accepts === undefined) === (to.accepts === undefined);
            const isKnown = sameIssuer && (to.accepts === undefined || to.accepts.includes(issuer));
            const local = to.scope.local(universal);
            if (isKnown) {
              expect(local).to.equal(to.scope.qualify(issuer, name));
              expect(to.scope.universal(local!)).to.equal(universal);
            } else if (local !== undefined) {
              // Who accepts any issuer may hear of those of others, and must take them for nobody of its own.
              expect(to.name).to.equal("accepts issuers by a function");
              expect(issuers.some((iss) => to.scope.qualify(iss, name) === local)).to.equal(false);
            }
          }
  }).timeout(60_000);

  it("that this gate does not accept are refused, and never treated as its own users", () => {
    const [shop] = gates as [Gate];
    const keys = keyspaces.get(shop)!;
    const stranger = `iss-${digestOf(partners)}.42`;
    for (const call of [
      () => keys.holder(stranger),
      () => keys.userPartition(stranger),
      () => keys.subjectCutoff(stranger),
      () => keys.sessionsOf(stranger),
      () => keys.revokedToken(stranger),
    ])
      expect(call).to.throw(TypeError, "of an issuer whose tokens this gate does not accept");
    // A token may name such a subject: then it is a name as any other.
    expect(keys.holder(shop.scope.qualify(id, stranger))).to.equal(`${digestOf(id)}:${stranger}`);
    for (const issuer of [partners, port, `${id}/`]) {
      expect(() => shop.scope.qualify(issuer, "42")).to.throw(TypeError);
      expect(() => keys.claimPartition(issuer, "tenant", "acme")).to.throw(TypeError);
      expect(() => keys.revokedInput("a.b", issuer)).to.throw(TypeError);
    }
  });

  it("are published only to gates that accept them, each in its own form", () => {
    const listeners: ChannelListener[] = [];
    const heard = new Map<Gate, SessionEnd[]>();
    const news = new Map(
      gates.map((one) => {
        let own: ChannelListener | undefined;
        const channels = {
          publish(_channel: string, message: string) {
            for (const listener of listeners) listener(message, listener === own);
            return Promise.resolve();
          },
          subscribe(_channel: string, listener: ChannelListener) {
            own = listener;
            listeners.push(listener);
            return () => undefined;
          },
          isAlive: () => true,
        };
        const endings = new SessionEvents(channels, one.scope, silentLogger);
        endings.subscribe((ending) => heard.set(one, [...(heard.get(one) ?? []), ending]));
        return [one, endings];
      }),
    );
    for (const from of gates)
      for (const issuer of issuersAt(from))
        for (const name of names.slice(0, 45)) {
          heard.clear();
          news.get(from)!.publish({ reason: "all", principal: from.scope.qualify(issuer, name), cutoff: 1 });
          for (const to of gates) {
            const ours = to === from || (from.accepts !== undefined && to.accepts?.includes(issuer) === true);
            // None of the others has a user of this principal.
            const principals = (heard.get(to) ?? []).map(({ principal }) => principal);
            if (ours) expect(principals).to.deep.equal([to.scope.qualify(issuer, name)]);
            else
              for (const principal of principals)
                expect(issuersAt(to).map((iss) => to.scope.qualify(iss, name))).to.not.include(principal);
          }
        }
  }).timeout(60_000);
});
