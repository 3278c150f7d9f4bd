import { expect } from "chai";
import { accessTokenHash, createDpopClient, signToken } from "@portcullis/testkit";
import { DpopNonces } from "../../../packages/core/src/auth/dpop/nonce.js";
import { resolveDpop } from "../../../packages/core/src/auth/dpop/options.js";
import { ProofOfPossession } from "../../../packages/core/src/guard/proof-of-possession.js";
import { createChallenges } from "../../../packages/core/src/guard/challenges.js";
import type { VerifiedToken } from "../../../packages/core/src/auth/verifier.js";
import { Keyspace } from "../../../packages/core/src/store/keyspace.js";
import { fakeExchange } from "../../support/fake-gate.js";

const minute = 60_000;
const start = 1_800_000_000_000;

describe("a nonce for DPoP proofs", () => {
  it("is the same in every process with the secret, and unpredictable without the secret", () => {
    const now = (): number => start;
    const [one, two, other] = ["secret", "secret", "another"].map((secret) => new DpopNonces(secret, now));
    expect(one!.current()).to.equal(two!.current());
    expect(two!.judge(one!.current())).to.equal("current");
    expect(other!.current()).not.to.equal(one!.current());
    expect(other!.judge(one!.current())).to.equal("unknown");
    expect(one!.current()).to.match(/^[A-Za-z0-9_-]{32}$/);
  });

  it("is good for at least five and at most ten minutes, and never again", () => {
    let now = start;
    const nonces = new DpopNonces("secret", () => now);
    const seen = new Set<string>();
    for (let round = 0; round < 50; round += 1) {
      const nonce = nonces.current();
      seen.add(nonce);
      const born = now;
      let last = now;
      for (now = born; now < born + 15 * minute; now += 10_000) if (nonces.judge(nonce) !== "unknown") last = now;
      expect(last - born).to.be.within(5 * minute - 10_000, 10 * minute);
      now = born + 5 * minute + 7000;
    }
    expect(seen.size).to.equal(50);
  });

  it("is followed by the next before it ends: the response to one that is old names the new one", async () => {
    let now = start;
    const client = await createDpopClient();
    const token = await signToken();
    const keySecret = "a secret of the test";
    const publicUrl = "https://api.test";
    const challenges = createChallenges({ realm: undefined, dpop: { required: true, algorithms: ["ES256"] } });
    const possession = new ProofOfPossession({
      dpop: resolveDpop({ nonce: true }, { publicUrl, keySecret })!,
      toleranceSeconds: 5,
      keys: new Keyspace("", keySecret),
      challenges,
      health: { state: () => ({ kind: "memory", status: "up", findings: [] }) },
      now: () => now,
    });
    const nonces = new DpopNonces(keySecret, () => now);
    const prove = async (nonce: string | undefined) => {
      const iat = Math.floor(now / 1000);
      const dpop = await client.proof({ htm: "GET", htu: `${publicUrl}/`, ath: accessTokenHash(token), iat, nonce });
      const verified = { auth: { token } } as unknown as VerifiedToken;
      return possession.prove(fakeExchange({ headers: { dpop } }), verified, client.thumbprint);
    };
    const first = nonces.current();
    expect(await prove(first)).to.have.property("replayCheck");
    expect(await prove(first)).to.have.deep.property("headers", []);
    now += 5 * minute;
    const second = nonces.current();
    expect(second).not.to.equal(first);
    expect(await prove(first)).to.have.deep.property("headers", [["DPoP-Nonce", second]]);
    now += 5 * minute;
    for (const nonce of [first, undefined, "", `${second}x`, second.slice(1)]) {
      const refused = await prove(nonce);
      expect(refused).to.have.nested.property("problem.code", "dpop_nonce_required");
      expect(refused.headers).to.deep.include(["DPoP-Nonce", nonces.current()]);
    }
  });

  it("needs a keySecret: the public default secret is refused", () => {
    expect(() => resolveDpop({ nonce: true }, { publicUrl: "https://api.test", keySecret: undefined })).to.throw(
      TypeError,
      /keySecret is required with auth\.dpop\.nonce/,
    );
  });
});
