import { expect } from "chai";
import { accessTokenHash, createDpopClient, nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import { describeOnEveryFramework, withNodeAdapter } from "../../support/every-gate.js";
import type { TestAnswer } from "../../support/http.js";
import { send } from "../../support/http.js";
import { silentLogger } from "../../support/logger.js";
import { startProcess } from "../../support/processes.js";
import { freshPrefix, operate, testRedisUrl } from "../../support/redis.js";

const publicUrl = "https://api.example.com";

let client: DpopClient;
let thief: DpopClient;
before(async () => {
  [client, thief] = await Promise.all([createDpopClient(), createDpopClient()]);
});

function bound(claims: Record<string, unknown> = {}): Promise<string> {
  return signToken({ cnf: { jkt: client.thumbprint }, ...claims });
}

function proofFor(token: string, claims: Record<string, unknown> = {}, from = client): Promise<string> {
  return from.proof({ htm: "GET", htu: `${publicUrl}/me`, ath: accessTokenHash(token), ...claims });
}

function sendBound(url: string, token: string, proof: string | undefined, scheme = "DPoP"): Promise<TestAnswer> {
  return send(`${url}/me?any=query`, {
    headers: { authorization: `${scheme} ${token}`, ...(proof === undefined ? {} : { dpop: proof }) },
  });
}

function codeOf({ json }: TestAnswer): string | undefined {
  return (json as { code?: string } | undefined)?.code;
}

withNodeAdapter(describeOnEveryFramework)("DPoP (RFC 9449)", (start) => {
  const limits = [{ name: "ip", per: "ip", limit: 1000, window: "1m" }] as const;
  const open = (dpop: object | boolean = true, more: object = {}) =>
    start({ publicUrl, limits, auth: { ...testAuth, dpop }, ...more });

  it("accepts a bound token with a proof, at every request anew, and not the proof again", async () => {
    const { url } = await open();
    const token = await bound();
    const proof = await proofFor(token);
    expect((await sendBound(url, token, proof)).status).to.equal(200);
    const again = await sendBound(url, token, proof);
    expect([again.status, codeOf(again)]).to.deep.equal([401, "dpop_proof_invalid"]);
    expect(again.headers["www-authenticate"]).to.match(
      /^Bearer, DPoP error="invalid_dpop_proof", algs="[A-Za-z0-9 ]+"$/,
    );
    expect((await sendBound(url, token, await proofFor(token))).status).to.equal(200);
  });

  it("accepts a bound token with unknown members in cnf (RFC 7800 3.1)", async () => {
    const { url } = await open();
    const token = await bound({ cnf: { jkt: client.thumbprint, "urn:acme:level": 3, kid: "k", "x5t#S256": null } });
    expect((await sendBound(url, token, await proofFor(token))).status).to.equal(200);
    expect((await sendBound(url, token, undefined)).status).to.equal(401);
    const unproven = await bound({ cnf: { jkt: client.thumbprint, "x5t#S256": "b".repeat(43) } });
    expect((await sendBound(url, unproven, await proofFor(unproven))).status).to.equal(401);
  });

  it("lets one of 50 parallel uses of a proof pass", async () => {
    const { url } = await open();
    const token = await bound();
    const proof = await proofFor(token);
    const answers = await Promise.all(Array.from({ length: 50 }, () => sendBound(url, token, proof)));
    const passed = answers.filter(({ status }) => status === 200);
    expect(passed).to.have.length(1);
    for (const answer of answers) if (answer.status !== 200) expect(codeOf(answer)).to.equal("dpop_proof_invalid");
  });

  it("refuses proofs that are missing, of another key, method, URI, token, or time", async () => {
    const { url } = await open();
    const token = await bound();
    const other = await bound({ sub: "bob" });
    const wrong: (string | undefined)[] = [
      undefined,
      "",
      "nonsense",
      token,
      `${await proofFor(token)}, ${await proofFor(token)}`,
      await proofFor(token, {}, thief),
      await proofFor(token, { htm: "POST" }),
      await proofFor(token, { htu: `${publicUrl}/other` }),
      await proofFor(token, { htu: `${url}/me` }),
      await proofFor(other),
      await proofFor(token, { iat: nowSeconds() - 120 }),
      await proofFor(token, { iat: nowSeconds() + 60 }),
      await proofFor(token, { jti: "" }),
    ];
    for (const [index, proof] of wrong.entries()) {
      const answer = await sendBound(url, token, proof);
      expect([answer.status, codeOf(answer)], String(index)).to.deep.equal([401, "dpop_proof_invalid"]);
    }
    // The Host and Forwarded headers have no say in where a request was sent.
    const forwarded = await send(`${url}/me`, {
      headers: {
        authorization: `DPoP ${token}`,
        dpop: await proofFor(token, { htu: "https://evil.example/me" }),
        host: "evil.example",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
      },
    });
    expect(codeOf(forwarded)).to.equal("dpop_proof_invalid");
  });

  it("refuses a bound token as Bearer, and an unbound one as DPoP", async () => {
    const { url } = await open();
    const token = await bound();
    const stolen = await sendBound(url, token, await proofFor(token), "Bearer");
    expect([stolen.status, codeOf(stolen)]).to.deep.equal([401, "token_invalid"]);
    expect(stolen.headers["www-authenticate"]).to.match(/^Bearer error="invalid_token".*, DPoP algs=/);
    const plain = await signToken();
    expect((await sendBound(url, plain, undefined, "Bearer")).status).to.equal(200);
    const unbound = await sendBound(url, plain, await proofFor(plain));
    expect([unbound.status, codeOf(unbound)]).to.deep.equal([401, "token_invalid"]);
    expect(unbound.headers["www-authenticate"]).to.match(/^Bearer, DPoP error="invalid_token"/);
  });

  it("refuses unbound tokens where proofs are required, and asks for DPoP alone", async () => {
    const { url } = await open({ required: true, algorithms: ["ES256"] });
    const plain = await sendBound(url, await signToken(), undefined, "Bearer");
    expect([plain.status, codeOf(plain)]).to.deep.equal([401, "token_invalid"]);
    const none = await send(`${url}/me`);
    expect(none.headers["www-authenticate"]).to.equal('DPoP algs="ES256"');
    const token = await bound();
    expect((await sendBound(url, token, await proofFor(token))).status).to.equal(200);
  });

  it("asks for its nonce, and accepts it", async () => {
    const { url } = await open({ nonce: true }, { keySecret: "a secret of the test" });
    const token = await bound();
    const first = await sendBound(url, token, await proofFor(token));
    expect([first.status, codeOf(first)]).to.deep.equal([401, "dpop_nonce_required"]);
    expect(first.headers["www-authenticate"]).to.include('error="use_dpop_nonce"');
    const nonce = first.headers["dpop-nonce"];
    expect(nonce).to.match(/^[A-Za-z0-9_-]{32}$/);
    expect((await sendBound(url, token, await proofFor(token, { nonce }))).status).to.equal(200);
    for (const wrong of ["", "x", `${String(nonce)}x`, 7, null])
      expect((await sendBound(url, token, await proofFor(token, { nonce: wrong }))).status).to.equal(401);
  });

  it("asks for one proof where several middleware of a request look", async () => {
    const { url } = await start(
      { publicUrl, limits, auth: { ...testAuth, dpop: true } },
      { use: (gate) => [gate.authenticate(), gate.guard(), gate.guard()] },
    );
    const token = await bound();
    const proof = await proofFor(token);
    expect((await sendBound(url, token, proof)).status).to.equal(200);
    expect((await sendBound(url, token, proof)).status).to.equal(401);
  });

  it("counts bad proofs against their address, and a revoked bound token is revoked", async () => {
    const { url } = await open(true, { limits: [{ name: "ip", per: "ip", limit: 3, window: "1m" }] });
    const token = await bound();
    const proof = await proofFor(token);
    expect((await sendBound(url, token, proof)).status).to.equal(200);
    expect((await sendBound(url, token, proof)).status).to.equal(401);
    expect((await sendBound(url, token, "nonsense")).status).to.equal(401);
    expect((await sendBound(url, token, await proofFor(token))).status).to.equal(429);
    const { url: other, gate } = await open();
    await gate.revocations.revoke({ token, jti: "revoked", expiresAt: nowSeconds() + 60 });
    const revoked = await bound({ jti: "revoked" });
    expect(codeOf(await sendBound(other, revoked, await proofFor(revoked)))).to.equal("token_invalid");
  });

  it("is off unless chosen: then bound tokens are refused, whatever comes with them", async () => {
    const { url } = await start();
    const token = await bound();
    expect(codeOf(await sendBound(url, token, await proofFor(token), "Bearer"))).to.equal("token_invalid");
    const mutual = await signToken({ cnf: { "x5t#S256": "b".repeat(43) } });
    expect(codeOf(await send(`${url}/me`, { token: mutual }))).to.equal("token_invalid");
    const { url: behindProxy } = await start({ auth: { ...testAuth, certificateBound: true } });
    expect((await send(`${behindProxy}/me`, { token: mutual })).status).to.equal(200);
    for (const cnf of [null, "x", 7, [], { jkt: 7 }, { jkt: "short" }, { kid: "k" }, { "x5t#S256": "b", jwk: {} }]) {
      if (Array.isArray(cnf)) continue;
      expect(
        (await send(`${behindProxy}/me`, { token: await signToken({ cnf }) })).status,
        JSON.stringify(cnf),
      ).to.equal(401);
    }
  });
});

describe("DPoP over two processes, one with Express and one with Koa", function () {
  this.timeout(30_000);

  it("lets one of 60 uses of a proof over two processes pass", async () => {
    const options = {
      redis: testRedisUrl(),
      prefix: freshPrefix(),
      publicUrl,
      deadline: 2000,
      auth: { ...testAuth, dpop: true },
    };
    const processes = await Promise.all(adapters.map(({ name }) => startProcess(name, options)));
    const token = await bound();
    const proof = await proofFor(token);
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, index) => sendBound(processes[index % 2]!.url, token, proof)),
    );
    expect(answers.filter(({ status }) => status === 200)).to.have.length(1);
    const redis = operate(testRedisUrl());
    const keys = await redis.keys(`${options.prefix}portcullis:2:proof:*`);
    expect(keys).to.have.length(1);
    // Longer than any clock may still accept the proof: 60 s of age and twice the tolerance.
    expect(await redis.ttl(keys[0]!)).to.be.within(60, 72);
    await Promise.all(processes.map((process) => process.close()));
  });
});

for (const adapter of adapters) {
  describe(`DPoP on ${adapter.name}, when only Redis knows the used proofs`, function () {
    this.timeout(30_000);

    it("answers 503 while Redis is away, whatever revocation allows", async () => {
      const app = await adapter.start({
        options: {
          redis: "redis://127.0.0.1:1",
          publicUrl,
          auth: { ...testAuth, dpop: true },
          revocation: { onStoreError: "allow" },
          logger: silentLogger,
        },
        routes: { "GET /me": () => ({}) },
      });
      const token = await bound();
      const answer = await sendBound(app.url, token, await proofFor(token));
      expect([answer.status, codeOf(answer)]).to.deep.equal([503, "store_unavailable"]);
      expect((await send(`${app.url}/me`, { token: await signToken() })).status).to.equal(200);
      await app.close();
    });

    it("takes the proof for no replay at an alternative, after another one refused it in doubt of its revocation", async () => {
      const prefix = freshPrefix();
      const app = await adapter.start({
        options: {
          ...{ redis: testRedisUrl(), prefix, publicUrl, deadline: 2000, logger: silentLogger },
          auth: { ...testAuth, dpop: true },
        },
        use: (gate) => [gate.some(gate.guard(), gate.guard({ onStoreError: "allow" }))],
        routes: { "GET /me": () => ({}) },
      });
      await operate(testRedisUrl()).set(`${prefix}auth:cutoff:alice`, "nan", "EX", 60);
      const token = await bound();
      const proof = await proofFor(token);
      expect((await sendBound(app.url, token, proof)).status).to.equal(200);
      expect((await sendBound(app.url, token, proof)).status).to.not.equal(200);
      await app.close();
    });
  });
}
