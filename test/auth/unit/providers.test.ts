import { generateKeyPairSync } from "node:crypto";
import { runInThisContext } from "node:vm";
import { TestIssuer } from "@portcullis/testkit";
import { expect } from "chai";
import type { FetchFunction } from "../../../packages/core/src/index.js";
import { sectionOf } from "../../docs/documents.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { providerTokens } from "../support/providers.js";
import type { ProviderToken } from "../support/providers.js";

type Auth = NonNullable<FakeOptions["auth"]>;

/** The rows of the table, whose second column is the options of `auth`. */
function rowsOf(section: string): Map<string, string> {
  const rows = sectionOf("docs/authentication.md", section).matchAll(/^\| ([^|]+?) +\| `([^`]+)` +\|/gm);
  return new Map(Array.from(rows, ([, name = "", lines = ""]) => [name, lines]));
}

const rows = rowsOf("Providers");

describe("the table of providers in docs/authentication.md", () => {
  const issuers = new Map<string, TestIssuer>();
  before(async () => {
    for (const algorithm of ["RS256", "ES256", "ES384"]) issuers.set(algorithm, await TestIssuer.start(algorithm));
  });
  after(async () => {
    for (const issuer of issuers.values()) await issuer.close();
  });

  it("has a row for every provider whose tokens are tried, and no other", () => {
    expect([...rows.keys()]).to.have.members(Object.keys(providerTokens));
    expect(rows.size).to.be.at.least(30);
  });

  /** A gate with the lines of the row. Its key fetches arrive at a server on loopback, whatever their address is. */
  function open(name: string, token: ProviderToken, keys: TestIssuer, asked: string[]): FakeGate {
    const lines = rows.get(name) ?? expect.fail(`there is no row for ${name}`);
    const auth = runInThisContext(`({ ${lines} })`) as Auth;
    const fetchKeys: FetchFunction = async (url, init) => {
      asked.push(url);
      if (url.endsWith("/.well-known/openid-configuration"))
        return new Response(JSON.stringify({ issuer: token.iss, jwks_uri: `${token.iss ?? ""}/keys` }));
      return fetch(keys.jwksUri, init);
    };
    const remoteKeys = { fetch: fetchKeys, allowPrivateAddresses: true };
    return openGate({ auth: { ...auth, remoteKeys }, revocation: { check: "asked" } });
  }

  for (const [name, token] of Object.entries(providerTokens)) {
    it(`${name}: accepts its token with these lines, and refuses tokens for others`, async () => {
      const keys = issuers.get(token.alg ?? "RS256");
      if (keys === undefined) throw new Error("there is no such issuer");
      const asked: string[] = [];
      const gate = open(name, token, keys, asked);
      const { iss, header = {}, claims, carrier = "authorization" } = token;
      const ask = async (more: object = {}, ...middleware: ReturnType<FakeGate["guard"]>[]): Promise<string> => {
        const compact = await keys.sign({ iss, ...claims, ...more }, header);
        const headers = { [carrier]: carrier === "authorization" ? `Bearer ${compact}` : compact };
        // Functions of the table read the headers of the framework's request.
        const exchange = { ...fakeExchange({ headers }), raw: { headers } as never };
        for (const { check } of [gate.guard(), ...middleware]) {
          const verdict = await check(exchange);
          if (!verdict.allowed) return verdict.problem.code;
        }
        const { auth } = exchange.state.facts;
        expect(auth?.subject).to.equal(token.subject);
        if (token.scopes !== undefined) expect(auth?.scopes).to.include.members(token.scopes);
        return "allowed";
      };
      expect(await ask()).to.equal("allowed");
      expect(asked).to.not.be.empty;
      if (token.role !== undefined) {
        expect(await ask({}, gate.requireRole(token.role))).to.equal("allowed");
        expect(await ask({}, gate.requireRole("another"))).to.equal("claim_insufficient");
      }
      for (const other of token.refused) expect(await ask(other), JSON.stringify(other)).to.equal("token_invalid");
      expect(await ask({ exp: 1 })).to.equal("token_invalid");
      if (iss !== undefined) expect(await ask({ iss: "https://evil.example" })).to.equal("token_invalid");
    });
  }
});

describe("tokens of an AWS load balancer, whose parts are padded", () => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

  async function padded(claims: object): Promise<string> {
    const { createSign } = await import("node:crypto");
    const encode = (bytes: Buffer): string => bytes.toString("base64").replaceAll("+", "-").replaceAll("/", "_");
    const header = { alg: "ES256", kid: "0f2a", typ: "JWT", signer: "arn:aws:x" };
    const input = [header, { exp: Math.floor(Date.now() / 1000) + 120, iss: "https://id.example.com", ...claims }]
      .map((part) => encode(Buffer.from(JSON.stringify(part))))
      .join(".");
    const signature = createSign("sha256").update(input).sign({ key: privateKey, dsaEncoding: "ieee-p1363" });
    return `${input}.${encode(signature)}`;
  }

  function open(paddedTokens: boolean, withHeader = false): FakeGate {
    const read = (raw: unknown): string =>
      (raw as { headers: Record<string, string> }).headers["x-amzn-oidc-data"] ?? "";
    const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
    return openGate({
      auth: {
        publicKey: ({ kid }) => (kid === "0f2a" ? pem : undefined),
        issuer: "https://id.example.com",
        algorithms: ["ES256"],
        audience: false,
        validate: ({ header }) => header.signer === "arn:aws:x",
        tokenFrom: withHeader ? ["header", read] : read,
        paddedTokens,
      },
    });
  }

  async function codeOf(gate: FakeGate, token: string): Promise<string> {
    const headers = { "x-amzn-oidc-data": token };
    const verdict = await gate.guard().check({ ...fakeExchange({ headers }), raw: { headers } as never });
    return verdict.allowed ? "allowed" : verdict.problem.code;
  }

  it("pass with paddedTokens, by the PEM of their kid, whatever the length of their parts", async () => {
    const gate = open(true);
    for (const sub of ["a", "ab", "abc", "abcd"]) {
      const token = await padded({ sub });
      expect(await codeOf(gate, token), token).to.equal("allowed");
      expect(await codeOf(gate, token.replace(/=+$/, "=")), token).to.equal("token_invalid");
      expect(await codeOf(gate, token.replace(/.{4}\./, ".")), token).to.equal("token_invalid");
    }
    expect(await codeOf(gate, `${await padded({ sub: "a" })}====`)).to.equal("token_invalid");
  });

  it("are refused in the Authorization header, also after a function has read the same token", async () => {
    const gate = open(true, true);
    const token = await padded({ sub: "a" });
    const headers = { authorization: `Bearer ${token}` };
    const sendInHeader = () => gate.guard().check({ ...fakeExchange({ headers }), raw: { headers } as never });
    expect(await sendInHeader()).to.have.nested.property("problem.code", "token_invalid");
    expect(await codeOf(gate, token)).to.equal("allowed");
    expect(await sendInHeader()).to.have.nested.property("problem.code", "token_invalid");
    expect(await gate.verify(token)).to.have.nested.property("problem.code", "token_invalid");
  });

  it("are refused without it, and it is an error where no function reads tokens", async () => {
    expect(await codeOf(open(false), await padded({ sub: "a" }))).to.equal("token_invalid");
    const auth = { secret: "s".repeat(48), algorithms: ["HS256"], audience: false, paddedTokens: true } as const;
    expect(() => openGate({ auth })).to.throw(/auth\.paddedTokens has an effect only/);
  });
});
