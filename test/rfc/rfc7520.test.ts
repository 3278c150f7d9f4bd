import { expect } from "chai";
import type { JSONWebKeySet } from "jose";
import { createKeySet } from "../../packages/core/src/auth/keys/key-set.js";
import { createPublicKeys } from "../../packages/core/src/auth/keys/public-keys.js";
import { createSecretKeys } from "../../packages/core/src/auth/keys/secret-keys.js";
import { payloadSignedBy, unwrap, verifierAt } from "./support/verify.js";

// RFC 7520 3: the keys. Two of them have one kid.
const bilbo = "bilbo.baggins@hobbiton.example";
const ecKey = {
  kty: "EC",
  kid: bilbo,
  use: "sig",
  crv: "P-521",
  x: "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
  y: "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
};
const rsaKey = {
  kty: "RSA",
  kid: bilbo,
  use: "sig",
  n: unwrap(
    "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRB",
    "SFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD",
    "1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_",
    "qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw",
  ),
  e: "AQAB",
};
const macKey = {
  kty: "oct",
  kid: "018c0ae5-4d9b-471b-bfd6-eef314bc7037",
  use: "sig",
  alg: "HS256",
  k: "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
};

// RFC 7520 4: the payload of every example, and the parts around it.
const payload = unwrap(
  "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUg",
  "cm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0",
  "IGJlIHN3ZXB0IG9mZiB0by4",
);
const header = {
  rs256: "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
  ps384: "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
  es512: "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
  hs256: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
  rs256Alone: "eyJhbGciOiJSUzI1NiJ9",
  hs256Alone: "eyJhbGciOiJIUzI1NiJ9",
};
const signature = {
  rs256: unwrap(
    "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi8",
    "4wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocS",
    "adnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJu",
    "shZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
  ),
  ps384: unwrap(
    "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItl",
    "lVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0",
    "TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0",
    "uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
  ),
  es512: unwrap(
    "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_",
    "sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
  ),
  hs256: "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
  hs256Alone: "bWUSVaxorn7bEF1djytBd0kHv70Ly5pvbomzMWSOr20",
  contentOnly: "xuLifqLGiblpv9zBpuZczWhNj1gARaLV3UxvxhJxZuk",
  rs256Alone: unwrap(
    "MIsjqtVlOpa71KE-Mss8_Nq2YH4FGhiocsqrgi5NvyG53uoimic1tcMdSg-qptrzZc7CG6Svw2Y13TDIqHzTUrL_lR2ZFcryNFiH",
    "kSw129EghGpwkpxaTn_THJTCglNbADko1MZBCdwzJxwqZc-1RlpO2HibUYyXSwO97BSe0_evZKdjvvKSgsIqjytKSeAMbhMBdMma",
    "622_BG5t4sdbuCHtFjp9iJmkio47AIwqkZV1aIZsv33uPUqBBCXbYoQJwt7mxPftHmNlGoOSMxR_3thmXTCm4US-xiNOyhbm8afK",
    "K64jU6_TPtQHiJeQJxz9G3Tx-083B745_AfYOnlC9w",
  ),
  es512ContentOnly: unwrap(
    "ARcVLnaJJaUWG8fG-8t5BREVAuTY8n8YHjwDO1muhcdCoFZFFjfISu0Cdkn9Ybdlmi54ho0x924DUz8sK7ZXkhc7AFM8ObLfTvNC",
    "rqcI3Jkl2U5IX3utNhODH6v7xgy1Qahsn0fyb4zSAkje8bAWz4vIfj5pCMYxxm4fgV3q7ZYhm5eD",
  ),
};

const text = Buffer.from(payload, "base64url").toString("utf8");
const secret = Buffer.from(macKey.k, "base64url");
const keySet = { keys: [rsaKey, ecKey, macKey] } as JSONWebKeySet;
const all = ["RS256", "PS384", "ES512"] as const;

describe("RFC 7520, examples of JOSE", () => {
  it("4: the payload is the sentence of the RFC", () => {
    expect(text).to.match(/^It\u2019s a dangerous business, Frodo, .* swept off to\.$/);
  });

  for (const [section, name, key] of [
    ["4.1, RSASSA-PKCS1-v1_5", "rs256", rsaKey],
    ["4.2, RSASSA-PSS", "ps384", rsaKey],
    ["4.3, ECDSA on P-521", "es512", ecKey],
  ] as const) {
    const algorithms = [name.toUpperCase()];
    const jws = `${header[name]}.${payload}.${signature[name]}`;

    it(`${section}: verifies by the public key, and by the key set in which two keys have its kid`, async () => {
      expect(await payloadSignedBy(createPublicKeys("key", [key], algorithms), jws)).to.equal(text);
      expect(await payloadSignedBy(createKeySet("keys", keySet, all), jws)).to.equal(text);
    });

    it(`${section}: verifies with no other payload, signature, key or algorithm`, async () => {
      const keys = createKeySet("keys", keySet, all);
      const other = Buffer.from(`${text}!`).toString("base64url");
      expect(await payloadSignedBy(keys, `${header[name]}.${other}.${signature[name]}`)).to.be.undefined;
      const bytes = Buffer.from(signature[name], "base64url");
      bytes[9]! ^= 1;
      expect(await payloadSignedBy(keys, `${header[name]}.${payload}.${bytes.toString("base64url")}`)).to.be.undefined;
      const rest = createKeySet(
        "keys",
        keySet,
        all.filter((algorithm) => !algorithms.includes(algorithm)),
      );
      expect(await payloadSignedBy(rest, jws)).to.be.undefined;
    });

    it(`${section}: is refused as a token, since its payload is no JWT (our profile: tokens are JWTs)`, async () => {
      const verify = verifierAt(1_400_000_000, { jwks: keySet, algorithms: all, audience: false });
      expect(await verify(jws)).to.equal("ERR_JWT_INVALID");
    });
  }

  const mac = `${header.hs256}.${payload}.${signature.hs256}`;

  it("4.4, HMAC: verifies by the secret, and by no other", async () => {
    expect(await payloadSignedBy(createSecretKeys("secret", [secret], ["HS256"]), mac)).to.equal(text);
    const other = Buffer.from(secret);
    other[0]! ^= 1;
    expect(await payloadSignedBy(createSecretKeys("secret", [other], ["HS256"]), mac)).to.be.undefined;
    const asText = Buffer.from(macKey.k);
    expect(await payloadSignedBy(createSecretKeys("secret", [asText], ["HS256"]), mac)).to.be.undefined;
  });

  it("4.4: is not verified by the oct key of a key set (our profile: HMAC and public keys never mix)", async () => {
    expect(await payloadSignedBy(createKeySet("keys", keySet, all), mac)).to.be.undefined;
    const options = { jwks: keySet, algorithms: ["HS256"], audience: false } as const;
    expect(() => verifierAt(1_400_000_000, options)).to.throw(TypeError, "public keys never verify HMAC");
  });

  it("4.4: the key of 32 bytes is refused for HS384 and HS512 (RFC 7518 3.2)", () => {
    expect(() => createSecretKeys("secret", [secret], ["HS384"])).to.throw(RangeError, "at least 48 bytes");
    expect(() => createSecretKeys("secret", [secret], ["HS512"])).to.throw(RangeError, "at least 64 bytes");
  });

  describe("as a token", () => {
    const verify = verifierAt(1_400_000_000, { secret, algorithms: ["HS256"], audience: false });
    const signed = { payload, protected: header.hs256, signature: signature.hs256 };
    const cases: readonly (readonly [string, string])[] = [
      ["4.5, detached content", `${header.hs256}..${signature.hs256}`],
      ["4.4 in JSON serialisation", JSON.stringify({ payload, signatures: [signed] })],
      ["4.4 in flattened JSON serialisation", JSON.stringify(signed)],
      [
        "4.6, an unprotected kid, in JSON serialisation",
        JSON.stringify({
          payload,
          protected: header.hs256Alone,
          header: { kid: macKey.kid },
          signature: signature.hs256Alone,
        }),
      ],
      [
        "4.7, nothing protected, in JSON serialisation",
        JSON.stringify({ payload, header: { alg: "HS256", kid: macKey.kid }, signature: signature.contentOnly }),
      ],
      ["4.7 without a header", `.${payload}.${signature.contentOnly}`],
      ["4.7 with the header that was not signed", `${header.hs256}.${payload}.${signature.contentOnly}`],
      [
        "4.8, several signatures",
        JSON.stringify({ payload, signatures: [{ header: { alg: "ES512" }, signature: signature.es512ContentOnly }] }),
      ],
    ];
    for (const [name, token] of cases) {
      it(`${name}: is refused (our profile: compact serialisation only)`, async () => {
        expect(await verify(token)).to.be.a("string");
      });
    }
  });

  it("4.6 and 4.8: the protected part verifies in compact form", async () => {
    const bySecret = createSecretKeys("secret", [secret], ["HS256"]);
    expect(await payloadSignedBy(bySecret, `${header.hs256Alone}.${payload}.${signature.hs256Alone}`)).to.equal(text);
    const byKey = createPublicKeys("key", [rsaKey], ["RS256"]);
    expect(await payloadSignedBy(byKey, `${header.rs256Alone}.${payload}.${signature.rs256Alone}`)).to.equal(text);
  });

  it("3.2 and 3.4: a private key is refused at start-up (our profile: a verifier has no private key)", () => {
    for (const key of [
      { ...ecKey, d: "AAhRON2r9cqXX1hg-RoI6R1tX5p2rUAYdmpHZoC1XNM56KtscrX6zbKipQrCW9CGZH3T4ubpnoTKLDYJ_fF3_rJt" },
      { ...rsaKey, d: "AQ" },
    ]) {
      const algorithms = [key.kty === "EC" ? "ES512" : "RS256"];
      expect(() => createPublicKeys("key", [key], algorithms)).to.throw(TypeError, "private key");
      expect(() => createKeySet("keys", { keys: [key] }, algorithms)).to.throw(TypeError, "private key");
    }
  });

  it("3.5 and 3.6: a symmetric key is no public key", () => {
    const forEncryption = { kty: "oct", use: "enc", alg: "A256GCM", k: "AAPapAv4LbFbiVawEjagUBluYqN5rhna-8nuldDvOx8" };
    for (const key of [macKey, forEncryption])
      expect(() => createPublicKeys("key", [key], ["RS256"])).to.throw(TypeError);
  });
});
