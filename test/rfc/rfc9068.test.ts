import { expect } from "chai";
import type { AuthOptions } from "../../packages/core/src/auth/options.js";
import { forge, hs256, rs256, rsa, secondRsa } from "../auth/support/mint.js";
import { verifierAt } from "./support/verify.js";

// RFC 9068 3, figure 2: header and claims. The RFC shows no signature, so the key is ours.
const header = { typ: "at+JWT", alg: "RS256", kid: "RjEwOwOA" };
const claims = {
  iss: "https://authorization-server.example.com/",
  sub: "5ba552d67",
  aud: "https://rs.example.com/",
  exp: 1_639_528_912,
  iat: 1_618_354_090,
  jti: "dbe39bf3a3ba4238a513f51d6e1691c4",
  client_id: "s6BhdRkqt3",
  scope: "openid profile reademail",
};

const profile = {
  publicKey: rsa.publicKey,
  algorithms: ["RS256"],
  issuer: claims.iss,
  audience: claims.aud,
  strict: true,
  maxLifetime: "250d",
} as const satisfies AuthOptions;

const aDayLater = claims.iat + 86_400;

function judge(token: string, more: Partial<AuthOptions> = {}, seconds: number = aDayLater): Promise<object | string> {
  return verifierAt(seconds, { ...profile, ...more })(token);
}

function sign(more: Record<string, unknown> = {}, moreOfHeader: Record<string, unknown> = {}): string {
  return forge({ ...header, ...moreOfHeader }, { ...claims, ...more }, rs256(rsa));
}

describe("RFC 9068, example of an access token (3, figure 2)", () => {
  it("is accepted by the strict profile where tokens may live as long as it does", async () => {
    const auth = await judge(sign());
    expect(auth).to.deep.include({
      header,
      claims,
      subject: claims.sub,
      jti: claims.jti,
      scopes: ["openid", "profile", "reademail"],
      issuer: claims.iss,
      issuedAt: claims.iat,
      expiresAt: claims.exp,
    });
  });

  it("is refused by default, since it lives for 245 days (our profile: maxLifetime is 30 days)", async () => {
    expect(await judge(sign(), { maxLifetime: undefined })).to.equal(
      "the lifetime of the token exceeds auth.maxLifetime",
    );
  });

  describe("is refused by section 4:", () => {
    for (const typ of [undefined, "JWT", "at+jwt2", "jwt+at", "dpop+jwt", "application/jwt", "text/at+jwt", null, 5]) {
      it(`typ ${JSON.stringify(typ)}`, async () => {
        expect(await judge(sign({}, { typ }))).to.be.a("string");
      });
    }

    it("alg none", async () => {
      expect(await judge(forge({ ...header, alg: "none" }, claims, () => ""))).to.be.a("string");
      expect(await judge(forge({ ...header, alg: "none" }, claims, () => "AA"))).to.equal("ERR_JOSE_ALG_NOT_ALLOWED");
    });

    it("a signature by another key, or by an algorithm that was not agreed on", async () => {
      expect(await judge(forge(header, claims, rs256(secondRsa)))).to.equal("ERR_JWS_SIGNATURE_VERIFICATION_FAILED");
      expect(await judge(sign({}, { alg: "RS512" }))).to.equal("ERR_JOSE_ALG_NOT_ALLOWED");
      expect(await judge(forge({ ...header, alg: "HS256" }, claims, hs256))).to.equal("ERR_JOSE_ALG_NOT_ALLOWED");
    });

    for (const iss of ["https://authorization-server.example.com", "https://evil.example/", undefined]) {
      it(`iss ${JSON.stringify(iss)}`, async () => {
        expect(await judge(sign({ iss }))).to.equal("ERR_JWT_CLAIM_VALIDATION_FAILED");
      });
    }

    for (const aud of ["https://rs.example.com", "s6BhdRkqt3", [], ["https://other.example.com/"], undefined]) {
      it(`aud ${JSON.stringify(aud)}`, async () => {
        expect(await judge(sign({ aud }))).to.equal("ERR_JWT_CLAIM_VALIDATION_FAILED");
      });
    }

    it("at its exp and after it (our profile: without tolerance while revocation is on)", async () => {
      expect(await judge(sign(), {}, claims.exp - 1)).to.be.an("object");
      expect(await judge(sign(), {}, claims.exp)).to.be.a("string");
      expect(await judge(sign(), {}, claims.exp + 60)).to.be.a("string");
    });
  });

  describe("is refused where a claim is missing that section 2.2 requires:", () => {
    for (const name of Object.keys(claims).filter((claim) => claim !== "scope")) {
      it(name, async () => {
        expect(await judge(sign({ [name]: undefined }))).to.be.a("string");
      });
    }
  });

  describe("is accepted, since the RFC says nothing against it,", () => {
    for (const typ of ["at+jwt", "AT+JWT", "application/at+jwt", "Application/at+JWT"]) {
      it(`with typ ${typ} (4: media types have no case)`, async () => {
        expect(await judge(sign({}, { typ }))).to.be.an("object");
      });
    }

    it("without scope (2.2.3 asks for it only where the request had one)", async () => {
      expect(await judge(sign({ scope: undefined }))).to.deep.include({ scopes: [] });
    });

    it("with several audiences, one of them ours", async () => {
      expect(await judge(sign({ aud: ["https://other.example.com/", claims.aud] }))).to.be.an("object");
    });

    it("with authentication and authorisation claims (2.2.1, 2.2.3.1)", async () => {
      const more = { auth_time: claims.iat, acr: "2", amr: ["pwd"], roles: ["a"], groups: ["b"], entitlements: ["c"] };
      expect(await judge(sign(more))).to.deep.include({ claims: { ...claims, ...more } });
    });
  });

  it("typ JWT, or none, is accepted only without strict (our default is wider: many issuers write it), ID tokens never", async () => {
    expect(await judge(sign({}, { typ: "JWT" }), { strict: undefined })).to.be.an("object");
    expect(await judge(sign({}, { typ: undefined }), { strict: undefined })).to.be.an("object");
    expect(await judge(sign({ token_use: "id" }, { typ: "JWT" }), { strict: undefined })).to.be.a("string");
  });
});
