import { portcullis } from "@portcullis/express";
import type { Auth } from "@portcullis/express";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";

type Gate = ReturnType<typeof portcullis>;

const customers = "https://customers.test";
const partners = "https://partners.test";

/** Gates of one application, with an issuer whose token each of them gets, and the same user for all. */
const kinds = {
  customers: { issuer: [customers], iss: customers },
  partners: { issuer: [partners], iss: partners },
  both: { issuer: [customers, partners], iss: partners },
  anybody: { issuer: undefined, iss: customers },
  nameless: { issuer: undefined, iss: undefined },
};
type Kind = keyof typeof kinds;
const all = Object.keys(kinds) as Kind[];

/** Whose the tokens at a gate are; a gate without an issuer has users of its own. */
const whoseAt = (kind: Kind): string => {
  const { issuer, iss } = kinds[kind];
  return issuer === undefined ? "nobody's" : iss;
};
const accepts = (kind: Kind, whose: string): boolean => (kinds[kind].issuer ?? ["nobody's"]).includes(whose);

describe("the auth of a request", () => {
  let gates: Readonly<Record<Kind, Gate>>;
  let auths: Readonly<Record<Kind, Auth>>;

  beforeEach(async () => {
    const prefix = freshPrefix();
    const opened = all.map((kind) => [kind, open(kind, prefix)] as const);
    gates = Object.fromEntries(opened) as Record<Kind, Gate>;
    const entered = opened.map(async ([kind, gate]) => [kind, await enter(kind, gate)] as const);
    auths = Object.fromEntries(await Promise.all(entered)) as Record<Kind, Auth>;
  });

  function open(kind: Kind, prefix: string): Gate {
    const auth = { ...testAuth, issuer: kinds[kind].issuer, sharedIssuer: false as const };
    const gate = portcullis({ redis: testRedisUrl(), prefix, logger: silentLogger, deadline: 1000, auth });
    cleanUp(() => gate.close());
    return gate;
  }

  async function enter(kind: Kind, gate: Gate): Promise<Auth> {
    const { iss } = kinds[kind];
    const verdict = await gate.verify(await signToken({ iss, sub: "42", sid: "s", jti: "j", iat: nowSeconds() - 10 }));
    if (!verdict.allowed) throw new Error(`${kind} refuses its token`);
    return verdict.auth;
  }

  for (const kind of all)
    it(`of another gate names no user that the gate "${kind}" may sign out, unless it accepts the issuer`, async () => {
      const { revocations, sessions } = gates[kind];
      const strangers = all.filter((other) => !accepts(kind, whoseAt(other))).map((other) => auths[other]);
      expect(strangers).not.to.have.length(0);
      for (const auth of strangers) {
        const calls = [
          () => revocations.revoke(auth),
          () => revocations.revokeSubject(auth),
          () => revocations.isRevoked(auth),
          () => sessions.revoke(auth),
          () => sessions.revokeAll(auth),
          () => sessions.revokeOthers(auth),
          () => sessions.list(auth),
        ];
        for (const call of calls)
          expect(await rejectionOf(call()), `${String(call)} of ${auth.issuer}`).to.be.a("Error");
      }
      expect(await revocations.isRevoked(auths[kind])).to.equal(false);
    });

  for (const kind of all)
    it(`is one that an ending at the gate "${kind}" concerns if it is of that user, whichever gate let it in`, async () => {
      const concerned: Kind[] = [];
      gates[kind].sessions.onRevoked((ended) => {
        concerned.push(...all.filter((other) => ended.concerns(auths[other])));
      });
      await gates[kind].revocations.revokeSubject(auths[kind]);
      expect(concerned).to.deep.equal(all.filter((other) => whoseAt(other) === whoseAt(kind)));
    });

  it("may be a copy, which is recognized by its issuer", async () => {
    await gates.both.revocations.revoke({ ...auths.both });
    expect(await gates.partners.revocations.isRevoked({ ...auths.partners })).to.equal(true);
    for (const auth of [auths.customers, auths.nameless])
      expect(await rejectionOf(gates.partners.revocations.revoke({ ...auth }))).to.be.a("Error");
  });
});
