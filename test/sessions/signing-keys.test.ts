import { generateKeyPairSync } from "node:crypto";
import { createGate } from "@portcullis/core/adapter";
import type { Gate, PortcullisOptions, TokensOptions } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { calculateJwkThumbprint, decodeProtectedHeader } from "jose";
import type { JSONWebKeySet } from "jose";
import { allAdapters } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const [now, next] = [1, 2].map(() => generateKeyPairSync("ec", { namedCurve: "P-256" })) as [typeof rsa, typeof rsa];
const ed = generateKeyPairSync("ed25519");
const common = { issuer: testIssuer, audience: "shop" };

function openGate(tokens: Partial<TokensOptions>, more: PortcullisOptions = {}): Gate<unknown, object> {
  const options = { redis: "memory", logger: silentLogger, tokens: { ...common, ...tokens } as TokensOptions, ...more };
  const gate = createGate<unknown, object>(options, () => ({}));
  cleanUp(() => gate.close());
  return gate;
}

describe("signing keys", () => {
  const forms: Readonly<Record<string, [TokensOptions["signingKey"], string]>> = {
    "a secret": [testSecret, "HS256"],
    "bytes of a secret": [Buffer.from(testSecret), "HS256"],
    "an RSA key": [rsa.privateKey, "RS256"],
    "an RSA key in PEM": [rsa.privateKey.export({ format: "pem", type: "pkcs8" }), "RS256"],
    "an elliptic-curve key as JWK": [now.privateKey.export({ format: "jwk" }), "ES256"],
    "an Ed25519 key": [ed.privateKey, "EdDSA"],
    "an RSA key as JWK with its algorithm": [{ ...rsa.privateKey.export({ format: "jwk" }), alg: "PS256" }, "PS256"],
  };
  for (const [form, [signingKey, alg]] of Object.entries(forms)) {
    it(`may be ${form}, and the gate accepts its tokens`, async () => {
      const gate = openGate({ signingKey });
      const { accessToken, refreshToken } = await gate.tokens.issue({ subject: "alice" });
      expect(decodeProtectedHeader(accessToken)).to.include({ alg, typ: "at+jwt" });
      expect((await gate.verify(accessToken)).allowed).to.equal(true);
      expect((await gate.verify(refreshToken)).allowed).to.equal(false);
      expect((await gate.verify((await gate.tokens.refresh(refreshToken)).accessToken)).allowed).to.equal(true);
    });
  }

  it("rotate from one deployment to the next without a refused token", async () => {
    const redis = { redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000 };
    const lists = [[now], [now, next], [next, now], [next]].map((keys) => keys.map(({ privateKey }) => privateKey));
    const refreshSecret = "r".repeat(32);
    const gates = lists.map((signingKey) => openGate({ signingKey, refreshSecret }, redis));
    let refreshToken = (await gates[0]!.tokens.issue({ subject: "alice" })).refreshToken;
    for (const [index, gate] of gates.entries()) {
      const tokens = await gate.tokens.refresh(refreshToken);
      ({ refreshToken } = tokens);
      // While one deployment replaces another, each meets the tokens of both.
      for (const neighbour of [gate, gates[index - 1], gates[index + 1]])
        if (neighbour !== undefined)
          expect((await neighbour.verify(tokens.accessToken)).allowed, String(index)).to.equal(true);
    }
    expect((await gates[3]!.tokens.refresh(refreshToken)).scopes).to.deep.equal([]);
  });

  it("derive one successor for a token that two processes refresh while the keys rotate", async () => {
    const redis = { redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000 };
    const [older, newer] = [
      openGate({ signingKey: [now.privateKey, next.privateKey] }, redis),
      openGate({ signingKey: [next.privateKey, now.privateKey] }, redis),
    ] as const;
    const { refreshToken } = await older.tokens.issue({ subject: "alice" });
    const answers = await Promise.all([older, newer, older, newer].map((gate) => gate.tokens.refresh(refreshToken)));
    expect(new Set(answers.map((answer) => answer.refreshToken)).size).to.equal(1);
    await newer.tokens.refresh(answers[0]?.refreshToken);
  });

  for (const adapter of allAdapters) {
    it(`are published by ${adapter.name}, where another service finds them`, async () => {
      const app = await adapter.start({
        options: {
          redis: "memory",
          logger: silentLogger,
          tokens: { ...common, signingKey: [now.privateKey, rsa.privateKey, ed.publicKey] },
        },
        use: (gate) => [gate.routes.jwks(), gate.guard()],
        routes: {},
      });
      cleanUp(() => app.close());
      const answer = await send(`${app.url}/.well-known/jwks.json`);
      expect(answer.status).to.equal(200);
      expect(answer.headers).to.include({
        "content-type": "application/jwk-set+json",
        "cache-control": "public, max-age=300",
      });
      const { keys } = answer.json as JSONWebKeySet;
      expect(keys.map(({ alg }) => alg)).to.deep.equal(["ES256", "RS256", "EdDSA"]);
      for (const key of keys) {
        expect(key).not.to.have.any.keys("d", "p", "q", "dp", "dq", "qi", "k");
        expect(key).to.include({ use: "sig", kid: await calculateJwkThumbprint(key) });
      }
      const { accessToken } = await app.gate.tokens.issue({ subject: "alice" });
      expect(decodeProtectedHeader(accessToken).kid).to.equal(keys[0]?.kid);
      const service = createGate<unknown, object>(
        { redis: "memory", logger: silentLogger, auth: { jwksUri: `${app.url}/.well-known/jwks.json`, ...common } },
        () => ({}),
      );
      cleanUp(() => service.close());
      expect((await service.verify(accessToken)).allowed).to.equal(true);
    });
  }
});
