import { portcullis } from "@portcullis/express";
import type { Auth } from "@portcullis/express";
import { nowSeconds, signToken, testAudience, testAuth, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

type Gate = ReturnType<typeof portcullis>;
type Options = Parameters<typeof portcullis>[0];

const customers = "https://customers.test";
const partners = "https://partners.test";

describe("sessions of an issuer that is not the main one of a gate", () => {
  let prefix: string;
  /** Issues the tokens of the partners. */
  let theirs: Gate;

  beforeEach(() => {
    prefix = freshPrefix();
    theirs = open(partners, { tokens: { signingKey: testSecret, issuer: partners, audience: testAudience } });
  });

  function open(issuer: string | readonly string[], options: Partial<Options> = {}, sharedIssuer?: string): Gate {
    const auth = { ...testAuth, issuer, sharedIssuer: sharedIssuer ?? (false as const) };
    const gate = portcullis({
      ...{ redis: testRedisUrl(), prefix, logger: silentLogger, deadline: 1000 },
      ...{ revocation: { cutoffMargin: 0 }, auth, ...options },
    });
    cleanUp(() => gate.close());
    return gate;
  }

  async function authAt(gate: Gate, token: string): Promise<Auth | undefined> {
    const verdict = await gate.verify(token);
    return verdict.allowed ? verdict.auth : undefined;
  }

  const ofCustomer = (sid: string | undefined): Promise<string> =>
    signToken({ iss: customers, sub: "42", sid, iat: nowSeconds() - 60 });

  for (const sharedIssuer of [customers, undefined])
    describe(sharedIssuer === undefined ? "that has none" : "that has another", () => {
      const both = (): Gate => open([customers, partners], {}, sharedIssuer);

      it("end by revokeOthers(), and sessions of the same id of another issuer go on", async () => {
        const gate = both();
        const [mine, other] = [
          await theirs.tokens.issue({ subject: "42" }),
          await theirs.tokens.issue({ subject: "42" }),
        ];
        const [auth, ended] = [await authAt(gate, mine.accessToken), await authAt(gate, other.accessToken)];
        const customer = await ofCustomer(ended?.sessionId);
        expect(await gate.sessions.revokeOthers(auth)).to.equal(1);
        expect(await authAt(gate, other.accessToken), "the other session of the user").to.equal(undefined);
        expect(await authAt(gate, mine.accessToken), "the user's own").to.include({ issuer: partners });
        expect(await authAt(gate, customer), "the customer's session").to.include({ issuer: customers });
      });

      it("end by revoke() with principal and id, and sessions of the same id of another issuer go on", async () => {
        const gate = both();
        const { accessToken } = await theirs.tokens.issue({ subject: "42" });
        const { principal = "", sessionId = "" } = (await authAt(gate, accessToken)) ?? {};
        const customer = await ofCustomer(sessionId);
        expect(await gate.sessions.revoke(principal, sessionId)).to.equal(true);
        expect(await authAt(theirs, accessToken)).to.equal(undefined);
        expect(await authAt(gate, customer), "the customer's session").to.include({ issuer: customers });
      });

      it("are listed when another issuer's organisation of that name has ended, and not when their own has", async () => {
        const gate = both();
        const { accessToken } = await theirs.tokens.issue({ subject: "42", org: "acme" });
        const { principal = "" } = (await authAt(gate, accessToken)) ?? {};
        await open(customers, {}, sharedIssuer).sessions.revokeGroup("acme");
        expect(await gate.sessions.list(principal)).to.have.length(1);
        await theirs.sessions.revokeGroup("acme");
        expect(await gate.sessions.list(principal)).to.have.length(0);
      });
    });
});
