import { createHmac, createSecretKey, generateKeyPairSync, randomUUID } from "node:crypto";
import { accessTokenHash, createDpopClient } from "@portcullis/testkit";
import type { DpopClient } from "@portcullis/testkit";
import { expect } from "chai";
import { calculateJwkThumbprint } from "jose";
import type { JWK } from "jose";
import { verifyProof } from "../../../packages/core/src/auth/dpop/proof.js";
import type { ExpectedProof } from "../../../packages/core/src/auth/dpop/proof.js";
import { bytes32, es256, forge, p256Order, rs256, show, split } from "../support/mint.js";
import type { KeyPair, Signer } from "../support/mint.js";

const accessToken = "the.access.token";
const uri = "https://api.test/orders/7";
const now = 1_800_000_000;
const algorithms = ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];

let client: DpopClient;
/** The client's key, or another one that the token is said to be bound to. */
let expected: ExpectedProof;

const good = { htm: "GET", htu: uri, ath: accessTokenHash(accessToken), iat: now };

function prove(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): Promise<string> {
  return client.proof({ ...good, ...claims }, header);
}

async function outcome(proof: string, more: Partial<ExpectedProof> = {}): Promise<string> {
  const result = await verifyProof(proof, { ...expected, ...more });
  return "cause" in result ? result.cause : "verified";
}

before(async () => {
  client = await createDpopClient();
  expected = {
    method: "GET",
    uri,
    accessToken,
    thumbprint: client.thumbprint,
    algorithms,
    nowSeconds: now,
    maxAgeSeconds: 60,
    toleranceSeconds: 5,
  };
});

describe("a DPoP proof verifies", () => {
  it("and returns the values that the replay check needs", async () => {
    const result = await verifyProof(await prove({ jti: "a-jti", nonce: "a-nonce", iat: now - 1 }), expected);
    expect(result).to.deep.equal({
      jti: "a-jti",
      thumbprint: client.thumbprint,
      issuedAt: now - 1,
      nonce: "a-nonce",
    });
    expect(await verifyProof(await prove({ jti: "a-jti" }), expected)).to.have.property("nonce", undefined);
  });

  for (const algorithm of algorithms) {
    it(`by ${algorithm}`, async () => {
      const other = await createDpopClient(algorithm);
      expect(await outcome(await other.proof(good), { thumbprint: other.thumbprint })).to.equal("verified");
    });
  }

  for (const typ of ["dpop+jwt", "DPoP+JWT", "application/dpop+jwt"]) {
    it(`with typ ${typ}: media types have no case, and "application/" goes without saying`, async () => {
      expect(await outcome(await prove({}, { typ }))).to.equal("verified");
    });
  }

  it("with members of the key and header that say nothing against it", async () => {
    const jwk = { ...client.publicJwk, use: "sig", alg: "ES256", kid: "mine", key_ops: ["sign"], "x-more": 1 };
    expect(await outcome(await prove({ more: 1 }, { jwk, kid: "mine", more: 1 }))).to.equal("verified");
  });

  for (const iat of [now - 65, now - 60, now, now + 5, now + 0.5]) {
    it(`with an iat ${iat - now} s from now, where 60 s and a tolerance of 5 s are granted`, async () => {
      expect(await outcome(await prove({ iat }))).to.equal("verified");
    });
  }

  it("with a jti of 512 bytes, and with exp and nbf that hold", async () => {
    expect(await outcome(await prove({ jti: "j".repeat(512), exp: now, nbf: now + 5 }))).to.equal("verified");
  });

  for (const [htu, asked] of [
    ["HTTPS://API.Test/orders/7", uri],
    ["https://api.test:443/orders/7", uri],
    ["https://api.test/orders/7?page=2#end", uri],
    ["https://api.test/orders/7", `${uri}?page=2`],
    ["https://api.test/orders/x/../7", uri],
    ["https://api.test/orders/./7", uri],
    ["https://api.test/orders/%37", uri],
    ["https://api.test/%6frders/7", uri],
    ["https://api.test/a%2fb", "https://api.test/a%2Fb"],
    ["https://api.test/a/%2e%2e/b", "https://api.test/b"],
    ["https://api.test", "https://api.test/"],
    ["https://api.test?x", "https://api.test/"],
    ["http://localhost:80/", "http://localhost/"],
    ["https://[2001:DB8::1]/", "https://[2001:db8:0::1]/"],
    ["https://api.test/a|b%20c", "https://api.test/a|b%20c"],
    ["https://api.test//orders", "https://api.test//orders"],
  ] as const) {
    it(`whose htu is ${htu} where ${asked} was asked for (RFC 3986 6.2.2, 6.2.3)`, async () => {
      expect(await outcome(await prove({ htu }), { uri: asked })).to.equal("verified");
    });
  }
});

describe("a DPoP proof for another request is refused", () => {
  for (const htm of ["POST", "get", "GET ", "", null, 5, ["GET"], undefined]) {
    it(`with htm ${show(htm)}`, async () => {
      expect(await outcome(await prove({ htm }))).to.equal("the proof is for another method");
    });
  }

  const otherUris: readonly unknown[] = [
    ...["http://api.test/orders/7", "https://api.test:8443/orders/7", "https://api.test/orders/7/", "/orders/7"],
    ...["https://api.test/Orders/7", "https://api.test/orders%2F7", "https://api.test//orders/7", "https:/orders/7"],
    ...["https://evil.test/orders/7", "https://api.test.evil.test/orders/7", "https://api.test./orders/7"],
    ...["https://x@api.test/orders/7", "https://x:y@api.test/orders/7", "https://api.test@evil.test/orders/7"],
    ...[
      "https://api.test\\orders\\7",
      "https://api.test/orders/7 ",
      " https://api.test/orders/7",
      "https://api.te\tst/",
    ],
    ...["https://api.test/orders/7\n", "https://api.test/orders/\u0667", "https://\uff41pi.test/orders/7"],
    ...["https:api.test/orders/7", "https:///api.test/orders/7", "//api.test/orders/7", "https://", "https://?x"],
    ...["https://api.test/orders/%7", "https://api.test/orders/7%zz", "https://api.test:99999/orders/7", "", "*"],
    ...["ftp://api.test/orders/7", "https://[::1/orders/7", "javascript:x", null, 5, {}, [uri], undefined],
  ];
  for (const htu of otherUris) {
    it(`with htu ${show(htu)}`, async () => {
      expect(await outcome(await prove({ htu }))).to.equal("the proof is for another URI");
    });
  }

  it("if the target of the request is not a URI, whatever the proof contains", async () => {
    for (const asked of ["", "/orders", "https://", "nonsense"]) {
      expect(await outcome(await prove({ htu: asked }), { uri: asked })).to.equal("the proof is for another URI");
    }
  });

  const digest = accessTokenHash(accessToken);
  const hex = Buffer.from(digest, "base64url").toString("hex");
  for (const ath of [accessTokenHash("another"), `${digest}=`, hex, accessToken, "", null, 5, [digest], undefined]) {
    it(`with ath ${show(ath)}`, async () => {
      expect(await outcome(await prove({ ath }))).to.equal("the proof is for another access token");
    });
  }
});

describe("a DPoP proof of another time is refused", () => {
  for (const [iat, cause] of [
    [now - 66, "the proof is too old"],
    [0, "the proof is too old"],
    [-1e308, "the proof is too old"],
    [now + 6, "the iat of the proof is in the future"],
    [now * 1000, "the iat of the proof is in the future"],
    [1e308, "the iat of the proof is in the future"],
    ...[undefined, null, "", String(now), true, [now], {}].map((value) => [
      value,
      "the iat of the proof is not a time",
    ]),
  ] as const) {
    it(`with iat ${show(iat)}`, async () => {
      expect(await outcome(raw({ iat }))).to.equal(cause);
    });
  }

  it("with an iat that is infinite", async () => {
    const claims = JSON.stringify({ ...good, jti: "a", iat: "?" }).replace('"?"', "1e400");
    expect(await outcome(bySigner(claims))).to.equal("the iat of the proof is not a time");
  });

  for (const claims of [{ exp: now - 5 }, { exp: "soon" }, { exp: null }, { nbf: now + 6 }, { nbf: "soon" }]) {
    it(`with ${JSON.stringify(claims)}`, async () => {
      expect(await outcome(raw(claims))).to.be.oneOf(["the proof is expired", "the proof is not valid yet"]);
    });
  }
});

describe("a DPoP proof with claims of a wrong form is refused", () => {
  for (const jti of [undefined, "", null, 5, ["a"], {}, "j".repeat(513), "\u00e9".repeat(257)]) {
    it(`with jti ${show(jti).slice(0, 20)}`, async () => {
      expect(await outcome(raw({ jti }))).to.equal("the jti of the proof is not a text of 1 to 512 bytes");
    });
  }

  for (const nonce of [null, 5, ["a"], {}, true]) {
    it(`with nonce ${show(nonce)}`, async () => {
      expect(await outcome(raw({ nonce }))).to.equal("the nonce of the proof is not a text");
    });
  }

  for (const payload of ["[]", "null", '"x"', "5", "x", "{", "\ud800"]) {
    it(`with the payload ${JSON.stringify(payload)}`, async () => {
      expect(await outcome(bySigner(payload))).to.equal("the proof is not a JWT");
    });
  }
});

describe("a DPoP proof that is not exactly one compact JWS is refused unparsed", () => {
  const forms: readonly (readonly [string, (proof: string) => string])[] = [
    ["nothing", () => ""],
    ["two, as Node joins repeated fields", (proof) => `${proof}, ${proof}`],
    ["two with a comma alone", (proof) => `${proof},${proof}`],
    ["blanks around it", (proof) => ` ${proof} `],
    ["a newline after it", (proof) => `${proof}\n`],
    ["quotes", (proof) => `"${proof}"`],
    ["padding", (proof) => `${proof}=`],
    ["a fourth part", (proof) => `${proof}.AAAA`],
    ["the five parts of a JWE", (proof) => `${proof}.AAAA.AAAA`],
    ["two parts", (proof) => split(proof).input],
    ["an empty signature", (proof) => `${split(proof).input}.`],
    ["a detached payload", (proof) => proof.replace(/\..*\./, "..")],
    ["JSON serialisation", (proof) => JSON.stringify({ signatures: [{ signature: proof }] })],
  ];
  for (const [name, form] of forms) {
    it(name, async () => {
      expect(await outcome(form(await prove()))).to.equal("the proof is not one compact JWS");
    });
  }

  it("more than 8192 characters", async () => {
    expect(await outcome(await prove({ x: "x".repeat(6200) }))).to.equal("the proof is longer than 8192 characters");
    expect(await outcome("a.".repeat(5_000_000))).to.equal("the proof is longer than 8192 characters");
  });

  it("a last character that differs only in spare bits", async () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const proof = await prove();
    const respelled = proof.slice(0, -1) + alphabet[alphabet.indexOf(proof.slice(-1)) ^ 1]!;
    expect(await outcome(respelled)).to.equal("the signature of the proof is not in canonical base64url");
  });
});

describe("a DPoP proof of another kind of token is refused", () => {
  const types = ["JWT", "at+jwt", "dpop", "dpop+jwt ", "jwt+dpop", "text/dpop+jwt", "application/application/dpop+jwt"];
  for (const typ of [undefined, "", ...types, null, 5, ["dpop+jwt"], {}]) {
    it(`with typ ${show(typ)}`, async () => {
      expect(await outcome(bySigner(JSON.stringify({ ...good, jti: "a" }), { typ }))).to.equal(
        "the typ of the proof is not dpop+jwt",
      );
    });
  }

  const critical = [{ crit: ["b64"], b64: true }, { crit: [] }, { crit: null }, { crit: ["x"], x: 1 }, { b64: false }];
  for (const header of critical) {
    it(`with ${JSON.stringify(header)}`, async () => {
      expect(await outcome(bySigner(JSON.stringify({ ...good, jti: "a" }), header))).to.equal(
        "the proof has a critical header",
      );
    });
  }
});

describe("a DPoP proof by an algorithm that proves nothing is refused", () => {
  const names = ["none", "None", "es256", "ES256 ", "HS256", "HS512", "ES256K", "toString", "__proto__", "", null, 5];
  for (const alg of [...names, ["ES256"], undefined]) {
    it(`with alg ${show(alg)}`, async () => {
      const proof = bySigner(JSON.stringify({ ...good, jti: "a" }), { alg });
      expect(await outcome(proof)).to.equal("the algorithm of the proof is not allowed");
      expect(await outcome(proof, { algorithms: [...algorithms, String(alg)] })).to.equal(
        "the algorithm of the proof is not allowed",
      );
    });
  }

  it("that is not among those allowed", async () => {
    expect(await outcome(await prove(), { algorithms: ["ES384"] })).to.equal(
      "the algorithm of the proof is not allowed",
    );
  });

  it("an HMAC by the public key, even if the list says HS256", async () => {
    const secret = createSecretKey(Buffer.from(JSON.stringify(client.publicJwk)));
    const proof = bySigner(JSON.stringify({ ...good, jti: "a" }), { alg: "HS256" }, (input) =>
      createHmac("sha256", secret).update(input).digest(),
    );
    expect(await outcome(proof, { algorithms: ["HS256"] })).to.equal("the algorithm of the proof is not allowed");
  });
});

describe("a DPoP proof with a key that proves nothing is refused", () => {
  const notPublic = "the key of the proof is not a public key";
  const noKey = "the proof has no key";
  const otherUse = "the key of the proof is not for signatures of this algorithm";
  const unbound = "the key of the proof is not the one that the token is bound to";
  const cases: readonly (readonly [string, (jwk: JWK) => unknown, string])[] = [
    ["missing", () => undefined, noKey],
    ["null", () => null, noKey],
    ["a text", (jwk) => JSON.stringify(jwk), noKey],
    ["a list", (jwk) => [jwk], noKey],
    ["a key set", (jwk) => ({ keys: [jwk] }), notPublic],
    ["a shared secret", () => ({ kty: "oct", k: "AAAA" }), notPublic],
    ["of no kind", (jwk) => ({ ...jwk, kty: undefined }), notPublic],
    ["of an unknown kind", (jwk) => ({ ...jwk, kty: "ec" }), notPublic],
    ["its kind a list", (jwk) => ({ ...jwk, kty: ["EC"] }), notPublic],
    ...["d", "p", "q", "dp", "dq", "qi", "oth", "k"].map(
      (member) => [`with ${member}`, (jwk: JWK) => ({ ...jwk, [member]: "AA" }), notPublic] as const,
    ),
    ["with d null", (jwk) => ({ ...jwk, d: null }), notPublic],
    ["for encryption", (jwk) => ({ ...jwk, use: "enc" }), otherUse],
    ["for another algorithm", (jwk) => ({ ...jwk, alg: "ES384" }), otherUse],
    ["without y", (jwk) => ({ ...jwk, y: undefined }), unbound],
    ["with numbers for coordinates", (jwk) => ({ ...jwk, x: 1, y: 2 }), unbound],
    ["respelled with padding", (jwk) => ({ ...jwk, x: `${jwk.x}=` }), unbound],
    ["another", (jwk) => ({ ...jwk, x: jwk.y, y: jwk.x }), unbound],
    [
      "an RSA key",
      () => generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey.export({ format: "jwk" }),
      unbound,
    ],
  ];
  for (const [name, change, cause] of cases) {
    it(`that is ${name}`, async () => {
      expect(
        await outcome(bySigner(JSON.stringify({ ...good, jti: "a" }), { jwk: change(client.publicJwk) })),
      ).to.equal(cause);
    });
  }

  it("that is the attacker's, although all else is right", async () => {
    const attacker = await createDpopClient();
    expect(await outcome(await attacker.proof(good))).to.equal(unbound);
  });

  it("that is the bound one in the header, while the attacker's signed", async () => {
    const attacker = await createDpopClient();
    expect(await outcome(await attacker.proof(good, { jwk: client.publicJwk }))).to.equal(
      "the signature of the proof does not verify",
    );
  });

  const unverified = "the signature of the proof does not verify";

  it("that is a weak RSA key, bound as it may be", async () => {
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    expect(await outcome(byOwnKey("RS256", weak, rs256(weak)), await boundTo(weak))).to.equal(unverified);
  });

  it("on a curve that does not fit the algorithm, or on none", async () => {
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" });
    expect(await outcome(byOwnKey("ES256", p384, es256(p384)), await boundTo(p384))).to.equal(unverified);
    const x25519 = generateKeyPairSync("x25519");
    expect(
      await outcome(
        byOwnKey("EdDSA", x25519, () => Buffer.alloc(64)),
        await boundTo(x25519),
      ),
    ).to.equal(unverified);
    const k1 = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
    expect(await outcome(byOwnKey("ES256", k1, es256(k1)), await boundTo(k1))).to.equal(unverified);
  });

  it("that is not on its curve, or not in it", async () => {
    for (const point of [
      { x: bytes32(0n), y: bytes32(0n) },
      { x: bytes32(1n), y: bytes32(1n) },
      { x: Buffer.alloc(32, 255), y: Buffer.alloc(32, 255) },
    ]) {
      const jwk = { kty: "EC", crv: "P-256", x: point.x.toString("base64url"), y: point.y.toString("base64url") };
      const proof = bySigner(JSON.stringify({ ...good, jti: "a" }), { jwk }, () => Buffer.alloc(64));
      expect(await outcome(proof, { thumbprint: await calculateJwkThumbprint(jwk) })).to.equal(unverified);
    }
  });

  it("and with a signature that a missing check takes for any (CVE-2022-21449), or of a wrong form", async () => {
    const zero = bytes32(0n);
    const order = bytes32(p256Order);
    const signatures = [
      Buffer.concat([zero, zero]),
      Buffer.concat([order, order]),
      Buffer.concat([bytes32(1n), zero]),
      Buffer.from("3006020100020100", "hex"),
      Buffer.alloc(63, 1),
      Buffer.alloc(64, 255),
      Buffer.alloc(1),
    ];
    for (const signature of signatures) {
      const proof = `${split(await prove()).input}.${signature.toString("base64url")}`;
      expect(await outcome(proof)).to.equal(unverified);
    }
  });

  it("and with another header or payload than was signed", async () => {
    const [header = "", , signature = ""] = (await prove({ htm: "POST" })).split(".");
    const payload = Buffer.from(JSON.stringify({ ...good, jti: "a" })).toString("base64url");
    expect(await outcome(`${header}.${payload}.${signature}`)).to.equal(unverified);
  });
});

/** A proof whose claims and header no library would sign; the signature is nobody's unless a signer is given. */
function bySigner(
  payload: string,
  header: Record<string, unknown> = {},
  signer: Signer = () => Buffer.alloc(64, 1),
): string {
  return forge({ typ: "dpop+jwt", alg: "ES256", jwk: client.publicJwk, ...header }, payload, signer);
}

/** Claims of any form: jose signs only times that are numbers. */
function raw(claims: Record<string, unknown>): string {
  return bySigner(JSON.stringify({ ...good, jti: randomUUID(), ...claims }));
}

function byOwnKey(alg: string, { publicKey }: KeyPair, signer: Signer): string {
  const jwk = publicKey.export({ format: "jwk" });
  return bySigner(JSON.stringify({ ...good, jti: "a" }), { alg, jwk }, signer);
}

async function boundTo({ publicKey }: KeyPair): Promise<Partial<ExpectedProof>> {
  return { thumbprint: await calculateJwkThumbprint(publicKey.export({ format: "jwk" })) };
}
