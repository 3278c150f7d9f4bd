import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { accessTokenHash, createDpopClient, nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { expect } from "chai";
import { CompactSign } from "jose";
import { cleanUp } from "../support/clean-up.js";
import { describeOnEveryFramework } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { countedRequests } from "../support/request-counts.js";

const publicUrl = "https://api.example.com";
/** Longer than a name, so that no cause may quote it. The tests search every log line and event for it. */
const secret = `seeded-${"proof".repeat(20)}`;

interface Refusal {
  readonly gate: string;
  readonly cause: string;
  readonly detail?: { readonly claim?: string; readonly header?: string; readonly found?: string };
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const nested = "[".repeat(1500) + "]".repeat(1500);

/** Proofs that are refused, with the cause, and the claim or field of the detail. */
async function hostileProofs(client: DpopClient, token: string): Promise<[string, string, string?][]> {
  const right = { htm: "GET", htu: `${publicUrl}/me`, ath: accessTokenHash(token) };
  const key = client.publicJwk;
  const proof = (claims: object, header: object = {}): Promise<string> =>
    client.proof({ ...right, ...claims }, header as Record<string, unknown>);
  const sign = (text: string): Promise<string> =>
    new CompactSign(Buffer.from(text))
      .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk: key })
      .sign(client.privateKey);
  const forged = (header: object): string =>
    `${part({ typ: "dpop+jwt", alg: "ES256", jwk: key, ...header })}.${part({ ...right, jti: "1", iat: nowSeconds() })}.aaaa`;
  const anotherKey = "the key of the proof is not the one that the token is bound to";
  return [
    ["x".repeat(9000), "the proof is longer than 8192 characters"],
    ["", "the proof is not one compact JWS"],
    [`${await proof({})}, ${await proof({})}`, "the proof is not one compact JWS"],
    [await sign("[]"), "the proof is not a JWT"],
    [await sign(`"${secret}"`), "the proof is not a JWT"],
    [await sign(`{"jti":${nested}}`), "the jti of the proof is not a text of 1 to 512 bytes"],
    [await proof({ jti: secret.repeat(8) }), "the jti of the proof is not a text of 1 to 512 bytes"],
    [await proof({ htm: secret }), "the proof is for another method", "htm"],
    [await proof({ htm: "GET\r\nX: y\u0000\u202e" }), "the proof is for another method", "htm"],
    [await proof({ htm: { toString: 1, toJSON: 2 } }), "the proof is for another method", "htm"],
    [await proof({ htu: `https://user:${secret}@api.example.com/me` }), "the proof is for another URI", "htu"],
    [await proof({ htu: `${publicUrl}/${secret}?${secret}` }), "the proof is for another URI", "htu"],
    [await proof({ htu: [`${publicUrl}/me`] }), "the proof is for another URI", "htu"],
    [await proof({ ath: secret }), "the proof is for another access token", "ath"],
    [await proof({ iat: String(nowSeconds()) }), "the iat of the proof is not a time", "iat"],
    [await proof({ iat: -1 }), "the proof is too old", "iat"],
    [await proof({ nonce: { secret } }), "the nonce of the proof is not a text"],
    [await proof({}, { typ: `${secret}\n` }), "the typ of the proof is not dpop+jwt", "typ"],
    [forged({ alg: secret }), "the algorithm of the proof is not allowed", "alg"],
    [forged({ alg: "HS256", jwk: { kty: "oct", k: secret } }), "the algorithm of the proof is not allowed", "alg"],
    [forged({ jwk: [key] }), "the proof has no key"],
    [forged({ jwk: { ...key, d: secret } }), "the key of the proof is not a public key"],
    [forged({ jwk: { kty: "EC", crv: 1, x: {}, y: null } }), anotherKey],
    [forged({ crit: [secret], [secret]: 1 }), "the proof has a critical header"],
    [forged({}), "the signature of the proof does not verify"],
  ];
}

describeOnEveryFramework("a hostile proof of possession", (start) => {
  it("is refused, counted once, and has a precise cause without its texts", async () => {
    const client = await createDpopClient();
    const { url, gate } = await start({ publicUrl, deadline: 5000, auth: { ...testAuth, dpop: true } });
    const heard: Refusal[] = [];
    const listen = (message: unknown): void => {
      if ((message as Refusal).gate === gate.name) heard.push(message as Refusal);
    };
    subscribe("portcullis:denied", listen);
    cleanUp(() => unsubscribe("portcullis:denied", listen));
    const token = await signToken({ cnf: { jkt: client.thumbprint } });
    const proofs = await hostileProofs(client, token);
    for (const [index, [dpop, cause, about]] of proofs.entries()) {
      const answer = await send(`${url}/me`, { headers: { authorization: `DPoP ${token}`, dpop } });
      expect([index, answer.status, (answer.json as { code?: string }).code]).to.deep.equal([
        ...[index, 401, "dpop_proof_invalid"],
      ]);
      const [refusal, ...others] = heard.splice(0);
      expect([index, refusal?.cause, refusal?.detail?.claim ?? refusal?.detail?.header]).to.deep.equal([
        ...[index, cause, about],
      ]);
      expect(others).to.deep.equal([]);
      expect(JSON.stringify(refusal)).to.match(/^[\x20-\x7e]*$/);
      expect(answer.text).not.to.include("seeded-");
    }
    expect(countedRequests(gate)).to.deep.equal({
      ...{ "requests denied": proofs.length, "denied dpop_proof_invalid": proofs.length },
    });
  });
});
