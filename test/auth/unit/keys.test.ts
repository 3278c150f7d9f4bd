import { createPublicKey, createSecretKey, generateKeyPairSync } from "node:crypto";
import { testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import type { JwsAlgorithm } from "@portcullis/core";
import { expect } from "chai";
import { SignJWT } from "jose";
import type { FakeOptions } from "../../support/fake-gate.js";
import { admit, openGate, present, refuse } from "../../support/fake-gate.js";
import type { KeyPair } from "../support/mint.js";
import { attackerRsa, claimsWith, ec, ed, forge, hmac, rs256, rsa, secondRsa, weakRsa } from "../support/mint.js";

type AuthOptions = NonNullable<FakeOptions["auth"]>;
const common = { audience: testAudience, issuer: testIssuer };

async function accepts(auth: Partial<AuthOptions>, token: string): Promise<boolean> {
  return (await present(openGate({ auth: { ...common, ...auth } }), token)).verdict.allowed;
}

function byHmac(secret: string | Buffer): string {
  return forge({ alg: "HS256" }, claimsWith(), hmac("sha256", secret));
}

function jwk({ publicKey }: KeyPair, more: object = {}): never {
  return { ...publicKey.export({ format: "jwk" }), ...more } as never;
}

describe("secrets rotate", () => {
  const [fresh, old, older] = ["f", "o", "x"].map((letter) => letter.repeat(40)) as [string, string, string];
  const auth = { secret: [fresh, old], algorithms: ["HS256"] as const };

  it("each of the list verifies, and no other", async () => {
    expect(await accepts(auth, byHmac(fresh))).to.be.true;
    expect(await accepts(auth, byHmac(old))).to.be.true;
    expect(await accepts(auth, byHmac(older))).to.be.false;
    expect(await accepts(auth, byHmac(fresh + old))).to.be.false;
    expect(await accepts(auth, byHmac(`${fresh},${old}`))).to.be.false;
  });

  it("a gate without the old one refuses its tokens", async () => {
    expect(await accepts({ ...auth, secret: fresh }, byHmac(old))).to.be.false;
  });
});

describe("a secret is its UTF-8 bytes", () => {
  const text = `p\u00e4ssword-\u{1f511}-${"0".repeat(32)}`;
  const spellings = {
    text,
    "a Buffer": Buffer.from(text),
    "a Uint8Array": new TextEncoder().encode(text),
    "a KeyObject": createSecretKey(Buffer.from(text)),
  };

  for (const [name, secret] of Object.entries(spellings)) {
    it(`given as ${name}`, async () => {
      expect(await accepts({ secret, algorithms: ["HS256"] }, byHmac(Buffer.from(text)))).to.be.true;
      expect(await accepts({ secret, algorithms: ["HS256"] }, byHmac(Buffer.from(text, "latin1")))).to.be.false;
    });
  }

  it("not the bytes that it decodes to as base64", async () => {
    const encoded = Buffer.alloc(48, 7).toString("base64");
    expect(await accepts({ secret: encoded, algorithms: ["HS256"] }, byHmac(encoded))).to.be.true;
    expect(await accepts({ secret: encoded, algorithms: ["HS256"] }, byHmac(Buffer.alloc(48, 7)))).to.be.false;
  });

  it("a change of the caller's bytes afterwards changes nothing", async () => {
    const bytes = Buffer.alloc(32, 1);
    const gate = openGate({ auth: { ...common, secret: bytes, algorithms: ["HS256"] } });
    const token = byHmac(Buffer.alloc(32, 1));
    bytes.fill(0);
    await admit(gate, token);
    await refuse(gate, byHmac(Buffer.alloc(32)));
  });
});

describe("a public key verifies", () => {
  const token = (): string => forge({ alg: "RS256" }, claimsWith(), rs256(rsa));
  const pem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
  const forms: Readonly<Record<string, NonNullable<AuthOptions["publicKey"]>>> = {
    "as PEM": pem,
    "as PEM with CRLF": pem.replaceAll("\n", "\r\n"),
    "as PEM without the last newline": pem.trimEnd(),
    "as JWK": jwk(rsa),
    "as KeyObject": rsa.publicKey,
    "as a list of one": [pem],
    "as one of several": [secondRsa.publicKey, jwk(attackerRsa), pem],
  };

  for (const [name, publicKey] of Object.entries(forms)) {
    it(name, async () => expect(await accepts({ publicKey, algorithms: ["RS256"] }, token())).to.be.true);
  }

  it("and no other does", async () => {
    expect(await accepts({ publicKey: [secondRsa.publicKey, attackerRsa.publicKey], algorithms: ["RS256"] }, token()))
      .to.be.false;
  });

  it("as a JWK with an alg by that one alone, whatever else the gate accepts", async () => {
    const algorithms = ["RS256", "PS256"] as const;
    const publicKey = [jwk(rsa, { alg: "PS256", use: "sig" }), secondRsa.publicKey];
    const sign = (alg: string, { privateKey }: KeyPair) =>
      new SignJWT(claimsWith()).setProtectedHeader({ alg }).sign(privateKey);
    expect(await accepts({ publicKey, algorithms }, await sign("PS256", rsa))).to.be.true;
    expect(await accepts({ publicKey, algorithms }, await sign("RS256", rsa))).to.be.false;
    expect(await accepts({ publicKey, algorithms }, await sign("RS256", secondRsa))).to.be.true;
  });

  it("of several kinds side by side, each by its own algorithm", async () => {
    const gate = openGate({
      auth: {
        ...common,
        publicKey: [rsa.publicKey, ec.publicKey, ed.publicKey],
        algorithms: ["PS256", "ES256", "EdDSA"],
      },
    });
    const pairs = { PS256: rsa, ES256: ec, EdDSA: ed };
    for (const [alg, { privateKey }] of Object.entries(pairs)) {
      await admit(gate, await new SignJWT(claimsWith()).setProtectedHeader({ alg }).sign(privateKey));
    }
    await refuse(gate, token());
  });
});

describe("every algorithm that options name", () => {
  const rsaAlgorithms: readonly JwsAlgorithm[] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
  const curves = [
    ["ES256", "P-256"],
    ["ES384", "P-384"],
    ["ES512", "P-521"],
  ] as const;
  const pairs: readonly (readonly [JwsAlgorithm, KeyPair])[] = [
    ...rsaAlgorithms.map((alg) => [alg, rsa] as const),
    ...curves.map(([alg, namedCurve]) => [alg, generateKeyPairSync("ec", { namedCurve })] as const),
    ["EdDSA", ed],
    ["Ed25519", ed],
  ];

  for (const [alg, { publicKey, privateKey }] of pairs) {
    it(`${alg} works, and by it alone`, async () => {
      const token = await new SignJWT(claimsWith()).setProtectedHeader({ alg }).sign(privateKey);
      expect(await accepts({ publicKey, algorithms: [alg] }, token)).to.be.true;
      const others = rsaAlgorithms.filter((other) => other !== alg);
      if (rsaAlgorithms.includes(alg)) expect(await accepts({ publicKey, algorithms: others }, token)).to.be.false;
    });
  }

  for (const [alg, bits] of [
    ["HS256", 256],
    ["HS384", 384],
    ["HS512", 512],
  ] as const) {
    it(`${alg} works with a secret as long as its hash`, async () => {
      const secret = testSecret.slice(0, bits / 8);
      const token = await new SignJWT(claimsWith()).setProtectedHeader({ alg }).sign(Buffer.from(secret));
      expect(await accepts({ secret, algorithms: [alg] }, token)).to.be.true;
      expect(
        await accepts(
          { secret: testSecret, algorithms: (["HS256", "HS384", "HS512"] as const).filter((other) => other !== alg) },
          token,
        ),
      ).to.be.false;
    });
  }
});

describe("a fixed key set", () => {
  const set = {
    keys: [jwk(rsa, { kid: "one" }), jwk(secondRsa, { kid: "two" }), jwk(ec, { kid: "three", alg: "ES256" })],
  };
  const auth = { jwks: set, algorithms: ["RS256", "ES256"] as const };
  const signed = (pair: KeyPair, header: object = {}): string =>
    forge({ alg: "RS256", ...header }, claimsWith(), rs256(pair));

  it("finds the key by kid", async () => {
    expect(await accepts(auth, signed(rsa, { kid: "one" }))).to.be.true;
    expect(await accepts(auth, signed(secondRsa, { kid: "two" }))).to.be.true;
    expect(await accepts(auth, signed(secondRsa, { kid: "one" }))).to.be.false;
  });

  it("tries every key that fits a token without kid", async () => {
    expect(await accepts(auth, signed(rsa))).to.be.true;
    expect(await accepts(auth, signed(secondRsa))).to.be.true;
    expect(await accepts(auth, signed(attackerRsa))).to.be.false;
  });

  it("tries no more than ten, so that no forged token costs a check by each of a thousand keys", async () => {
    const others = (count: number) =>
      Array.from({ length: count }, (_, index) => jwk(secondRsa, { kid: `other-${index}` }));
    const last = jwk(rsa, { kid: "last" });
    const withOthers = (count: number) => ({
      jwks: { keys: [...others(count), last] },
      algorithms: ["RS256"] as const,
    });
    expect(await accepts(withOthers(9), signed(rsa))).to.be.true;
    expect(await accepts(withOthers(10), signed(rsa))).to.be.false;
    expect(await accepts(withOthers(1000), signed(rsa, { kid: "last" }))).to.be.true;
  });

  it("uses no key for a purpose that its alg, use or key_ops exclude", async () => {
    for (const more of [{ alg: "RS512" }, { use: "enc" }, { key_ops: ["encrypt"] }, { key_ops: [] }]) {
      const jwks = { keys: [jwk(rsa, { kid: "one", ...more }), jwk(secondRsa, { kid: "two" })] };
      const token = signed(rsa, { kid: "one" });
      expect(await accepts({ jwks, algorithms: ["RS256"] }, token), JSON.stringify(more)).to.be.false;
    }
  });

  it("may hold members that are of no use here, as issuers publish them (RFC 7517 5)", async () => {
    const useless: Readonly<Record<string, object>> = {
      "a key of another algorithm": jwk(ec, { kid: "ec" }),
      "a key to encrypt to": {
        ...generateKeyPairSync("x25519").publicKey.export({ format: "jwk" }),
        kid: "x",
        use: "enc",
      },
      "an RSA key to encrypt to": jwk(secondRsa, { kid: "e", use: "enc", alg: "RSA-OAEP" }),
      "a key on a curve that JWT has not": generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey.export({
        format: "jwk",
      }),
      "a key of an unknown kind": { kty: "XYZ", kid: "xyz" },
    };
    for (const [name, member] of Object.entries(useless)) {
      const jwks = { keys: [member, jwk(rsa, { kid: "one" })] } as never;
      const allowed = await accepts({ jwks, algorithms: ["RS256"] }, signed(rsa, { kid: "one" })).catch(String);
      expect(allowed, name).to.equal(true);
    }
  });

  it("is not changed by later changes of the caller's object", async () => {
    const jwks = { keys: [jwk(rsa, { kid: "one" })] };
    const gate = openGate({ auth: { ...common, jwks, algorithms: ["RS256"] } });
    jwks.keys.splice(0, 1, jwk(attackerRsa, { kid: "one" }));
    await refuse(gate, signed(attackerRsa, { kid: "one" }));
    await admit(gate, signed(rsa, { kid: "one" }));
  });
});

describe("a key for other purposes never verifies", () => {
  it("a private key as auth.publicKey is refused at start-up", () => {
    for (const publicKey of [
      rsa.privateKey,
      rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
      rsa.privateKey.export({ format: "jwk" }) as never,
    ]) {
      expect(() => openGate({ auth: { ...common, publicKey, algorithms: ["RS256"] } })).to.throw(
        TypeError,
        "auth.publicKey",
      );
    }
  });

  it("an RSA key of 1024 bits is refused at start-up, as PEM, JWK and KeyObject", () => {
    for (const publicKey of [
      weakRsa.publicKey,
      jwk(weakRsa),
      createPublicKey(weakRsa.privateKey).export({ type: "spki", format: "pem" }).toString(),
    ]) {
      expect(() => openGate({ auth: { ...common, publicKey, algorithms: ["RS256"] } })).to.throw(
        RangeError,
        "auth.publicKey",
      );
    }
  });
});
