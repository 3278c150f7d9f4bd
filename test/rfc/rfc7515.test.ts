import { expect } from "chai";
import { createPublicKeys } from "../../packages/core/src/auth/keys/public-keys.js";
import type { AuthOptions } from "../../packages/core/src/auth/options.js";
import { forge, hmac } from "../auth/support/mint.js";
import { payloadSignedBy, unwrap, verifierAt } from "./support/verify.js";

// RFC 7515 A: the keys.
const macKey = Buffer.from(
  "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
  "base64url",
);
const rsaKey = {
  kty: "RSA",
  n: unwrap(
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
    "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
    "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
    "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
  ),
  e: "AQAB",
};
const p256Key = {
  kty: "EC",
  crv: "P-256",
  x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
  y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
};
const p521Key = {
  kty: "EC",
  crv: "P-521",
  x: "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
  y: "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
};

// RFC 7515 A.1 to A.5: the tokens. The first three and the last say the same.
const claims = { iss: "joe", exp: 1_300_819_380, "http://example.com/is_root": true };
const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const signature = {
  a1: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
  a2: unwrap(
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9",
    "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB",
    "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq",
    "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
  ),
  a3: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
  a4: unwrap(
    "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCA",
    "PZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
  ),
};
const token = {
  a1: `eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.${payload}.${signature.a1}`,
  a2: `eyJhbGciOiJSUzI1NiJ9.${payload}.${signature.a2}`,
  a3: `eyJhbGciOiJFUzI1NiJ9.${payload}.${signature.a3}`,
  a4: `eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.${signature.a4}`,
  a5: `eyJhbGciOiJub25lIn0.${payload}.`,
};
const beforeExpiry = claims.exp - 60;

const options = {
  a1: { secret: macKey, algorithms: ["HS256"], issuer: "joe", audience: false },
  a2: { publicKey: rsaKey, algorithms: ["RS256"], issuer: "joe", audience: false },
  a3: { publicKey: p256Key, algorithms: ["ES256"], issuer: "joe", audience: false },
} as const satisfies Readonly<Record<string, AuthOptions>>;

describe("RFC 7515, examples of JSON Web Signature", () => {
  for (const [section, name] of [
    ["A.1, HMAC SHA-256", "a1"],
    ["A.2, RSASSA-PKCS1-v1_5 SHA-256", "a2"],
    ["A.3, ECDSA P-256 SHA-256", "a3"],
  ] as const) {
    describe(section, () => {
      it("is accepted before its exp, which was in March 2011", async () => {
        const auth = await verifierAt(beforeExpiry, options[name])(token[name]);
        expect(auth).to.have.property("claims").that.deep.equals(claims);
        expect(auth).to.include({ issuer: "joe", expiresAt: claims.exp, subject: "", jti: undefined });
      });

      it("is refused from its exp on (our profile: without tolerance while revocation is on)", async () => {
        for (const seconds of [claims.exp, claims.exp + 4, claims.exp + 6, Date.now() / 1000])
          expect(await verifierAt(seconds, options[name])(token[name])).to.be.a("string");
      });

      it("is refused for every change of a part", async () => {
        const verify = verifierAt(beforeExpiry, options[name]);
        const [header = "", body = "", sign = ""] = token[name].split(".");
        const isRoot = Buffer.from(Buffer.from(body, "base64url").toString().replace("joe", "eve"));
        const bytes = Buffer.from(sign, "base64url");
        bytes[bytes.length - 1]! ^= 1;
        for (const changed of [
          `${header}.${isRoot.toString("base64url")}.${sign}`,
          `${header}.${body}.${bytes.toString("base64url")}`,
          `${Buffer.from(JSON.stringify({ alg: options[name].algorithms[0], x: 1 })).toString("base64url")}.${body}.${sign}`,
          `${header}.${body}.`,
          `${header}.${body}`,
        ])
          expect(await verify(changed)).to.be.a("string");
      });

      it("is refused by the gates of the other examples", async () => {
        for (const [other, auth] of Object.entries(options))
          if (other !== name)
            expect(await verifierAt(beforeExpiry, auth)(token[name])).to.equal("ERR_JOSE_ALG_NOT_ALLOWED");
      });

      it("is refused where another issuer or an audience is expected, or a jti (our profile, options)", async () => {
        for (const more of [{ issuer: "jo" }, { issuer: "joe/" }, { audience: "joe" }, { requireJti: true }])
          expect(await verifierAt(beforeExpiry, { ...options[name], ...more })(token[name])).to.be.a("string");
      });
    });
  }

  it("A.1: is refused if the key is taken as its text rather than its octets", async () => {
    const secret = macKey.toString("base64url");
    expect(await verifierAt(beforeExpiry, { ...options.a1, secret })(token.a1)).to.equal(
      "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
    );
  });

  it("A.2 and A.3: the private keys are refused at start-up (our profile)", () => {
    const privateP256 = { ...p256Key, d: "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" };
    expect(() => verifierAt(beforeExpiry, { ...options.a3, publicKey: privateP256 })).to.throw(TypeError, "private");
    expect(() => verifierAt(beforeExpiry, { ...options.a2, publicKey: { ...rsaKey, d: "AQ" } })).to.throw(
      TypeError,
      "private",
    );
  });

  describe("A.4, ECDSA P-521 SHA-512", () => {
    it("verifies by its key", async () => {
      const keys = createPublicKeys("key", [p521Key], ["ES512"]);
      expect(await payloadSignedBy(keys, token.a4)).to.equal("Payload");
      expect(await payloadSignedBy(keys, token.a4.replace("UGF5", "UGF6"))).to.be.undefined;
    });

    it("is refused as a token, since its payload is no JWT (our profile: tokens are JWTs)", async () => {
      const auth = { publicKey: p521Key, algorithms: ["ES512"], audience: false } as const;
      expect(await verifierAt(beforeExpiry, auth)(token.a4)).to.equal("ERR_JWT_INVALID");
    });
  });

  describe("A.5, unsecured", () => {
    it("is refused by every gate (RFC 8725 3.1)", async () => {
      for (const auth of Object.values(options))
        expect(await verifierAt(beforeExpiry, auth)(token.a5)).to.equal("ERR_JOSE_ALG_NOT_ALLOWED");
    });

    it("cannot be allowed (our profile)", () => {
      for (const none of ["none", "None"])
        expect(() => verifierAt(beforeExpiry, { ...options.a1, algorithms: [none as never] })).to.throw(TypeError);
    });
  });

  describe("other serialisations of A.2 and A.3 are refused (our profile: compact serialisation only)", () => {
    const byA2 = {
      protected: "eyJhbGciOiJSUzI1NiJ9",
      header: { kid: "2010-12-29" },
      signature: signature.a2,
    };
    const byA3 = {
      protected: "eyJhbGciOiJFUzI1NiJ9",
      header: { kid: "e9bc097a-ce51-4036-9562-d2ade882db0d" },
      signature: signature.a3,
    };
    const cases: readonly (readonly [string, string])[] = [
      ["A.6, general JSON", JSON.stringify({ payload, signatures: [byA2, byA3] })],
      ["A.7, flattened JSON", JSON.stringify({ payload, ...byA3 })],
      ["F, detached content", token.a3.replace(payload, "")],
    ];
    for (const [name, serialised] of cases) {
      it(name, async () => {
        for (const auth of [options.a2, options.a3])
          expect(await verifierAt(beforeExpiry, auth)(serialised)).to.be.a("string");
      });
    }
  });

  describe("E, the negative test case for crit", () => {
    const header = unwrap(
      "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERU",
      "ZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0",
    );

    it("is that of the RFC", () => {
      expect(JSON.parse(Buffer.from(header, "base64url").toString())).to.deep.equal({
        alg: "none",
        crit: ["http://example.com/UNDEFINED"],
        "http://example.com/UNDEFINED": true,
      });
      expect(Buffer.from("RkFJTA", "base64url").toString()).to.equal("FAIL");
    });

    it("must be rejected, and is", async () => {
      for (const auth of Object.values(options))
        expect(await verifierAt(beforeExpiry, auth)(`${header}.RkFJTA.`)).to.be.a("string");
    });

    it("must be rejected, and is, also where it is signed by the right key", async () => {
      const signed = { alg: "HS256", crit: ["http://example.com/UNDEFINED"], "http://example.com/UNDEFINED": true };
      const verify = verifierAt(beforeExpiry, options.a1);
      expect(await verify(forge(signed, claims, hmac("sha256", macKey)))).to.equal("ERR_JOSE_NOT_SUPPORTED");
      expect(await verify(forge({ alg: "HS256" }, claims, hmac("sha256", macKey)))).to.be.an("object");
    });
  });
});
