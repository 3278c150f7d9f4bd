import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { createChallenges } from "../../../packages/core/src/guard/challenges.js";
import type { Denied } from "../../../packages/core/src/index.js";
import type { FakeGate } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { hostileGates } from "../../auth/support/hostile-gates.js";
import { hostileTokens } from "../../auth/support/hostile.js";
import { claimsWith, forge, hs256, rs256, rsa } from "../../auth/support/mint.js";
import { FakeIssuer } from "../../auth/support/issuer.js";

describe("all causes of a refusal", () => {
  const gates: FakeGate[] = [];
  afterEach(() => Promise.all(gates.splice(0).map((gate) => gate.close())));

  const open: typeof openGate = (options) => {
    const gate = openGate(options);
    gates.push(gate);
    return gate;
  };

  async function refusal(gate: FakeGate, headers: Record<string, string>, method = "GET"): Promise<Denied> {
    const verdict = await gate.guard().check(fakeExchange({ method, headers }));
    if (verdict.allowed) throw new Error("accepted");
    return verdict;
  }

  it("of a token are one answer, whatever the kind of gate: 300 bad tokens, dozens of causes, one body", async () => {
    const kinds = Object.fromEntries(
      Object.entries(hostileGates).map(([name, auth]) => [name, open({ auth })]),
    ) as Record<keyof typeof hostileGates, FakeGate>;
    const answers = new Set<string>();
    const causes = new Set<string>();
    for (const { gate, make } of Object.values(hostileTokens).flat()) {
      const { cause, ...answer } = await refusal(kinds[gate], {
        authorization: `Bearer ${make("http://127.0.0.1:1/")}`,
      });
      answers.add(JSON.stringify(answer));
      causes.add(cause);
    }
    expect(causes.size).to.be.at.least(20);
    expect([...answers]).to.have.length(1);
  });

  it("are one answer for keys that are missing, whatever the issuer answers", async () => {
    const issuer = await FakeIssuer.start();
    try {
      const token = (kid: string) =>
        forge({ alg: "RS256", kid }, claimsWith({ iss: issuer.server.url, aud: "x" }), rs256(rsa));
      const jwksUri = `${issuer.server.url}/jwks`;
      const bodies = new Set<string>();
      for (const answer of ["{}", "nonsense", '{"keys":[]}', '{"keys":[{"kty":"oct","k":"AAAA"}]}']) {
        issuer.answer = (_req, res) => res.end(answer);
        const gate = open({ auth: { jwksUri, issuer: issuer.server.url, audience: "x" } });
        const { status, body, headers } = await refusal(gate, { authorization: `Bearer ${token("one")}` });
        expect(status).to.equal(503);
        bodies.add(JSON.stringify([body, headers]));
      }
      expect([...bodies]).to.have.length(1);
    } finally {
      await issuer.close();
    }
  });

  it("are one answer where a cookie is foreign, and where two sources carry a token", async () => {
    const tokenFrom = ["header", { cookie: "a" }, { cookie: "b" }] as const;
    const gate = open({ auth: { ...testAuth, tokenFrom } });
    const good = forge({ alg: "HS256" }, claimsWith(), hs256);
    const authorization = `Bearer ${good}`;
    const answers = async (all: [Record<string, string>, string?][]) =>
      new Set(
        await Promise.all(
          all.map(async ([headers, method]) => {
            const { status, headers: fields, body } = await refusal(gate, headers, method);
            return JSON.stringify([status, fields, body]);
          }),
        ),
      );
    const foreign = await answers([
      [{ cookie: `a=${good}` }, "POST"],
      [{ cookie: `b=${good}`, origin: "https://evil.test" }, "DELETE"],
      [{ cookie: `b=${good}`, "sec-fetch-site": "cross-site", upgrade: "websocket" }],
    ]);
    expect([...foreign]).to.have.length(1);
    const ambiguous = await answers([
      [{ authorization, cookie: `a=${good}` }],
      [{ authorization, cookie: "a=nonsense" }],
      [{ cookie: `a=${good}; b=${good}` }],
      [{ cookie: `a=${good}; a=x` }],
      [{ authorization: "Bearer x", cookie: `b=${good}` }, "POST"],
    ]);
    expect([...ambiguous]).to.have.length(1);
  });

  it("are one answer by construction: no refusal takes its body from its cause", () => {
    const challenges = createChallenges({ realm: undefined });
    const causes = ["a", "b", "the token of alice is expired", '"}', ""];
    const makers: ((cause: string) => Denied)[] = [
      (cause) => challenges.tokenInvalid(cause),
      (cause) => challenges.proofInvalid(cause),
      (cause) => challenges.tokenRefused({ code: "keys_unavailable", cause }, "Bearer"),
      (cause) => challenges.badCredentials({ kind: "malformed", scheme: "DPoP", cause }),
      (cause) => challenges.badCredentials({ kind: "too_large", scheme: "Bearer", cause }),
      (cause) => challenges.badCredentials({ kind: "ambiguous", cause }),
      (cause) => challenges.badCredentials({ kind: "foreign_origin", cause }),
    ];
    for (const make of makers) {
      const answers = causes.map((cause) => {
        const { cause: said, ...answer } = make(cause);
        expect(said).to.equal(cause);
        return JSON.stringify(answer);
      });
      expect(new Set(answers).size).to.equal(1);
    }
  });
});
