import { runInThisContext } from "node:vm";
import { TestIssuer, nowSeconds } from "@portcullis/testkit";
import type { ExpressOptions } from "@portcullis/express";
import { expect } from "chai";
import { SignJWT } from "jose";
import ts from "typescript";
import type { FakeGate, FakeMiddleware, FakeOptions } from "../support/fake-gate.js";
import { admit, fakeExchange, openGate, present, refuse } from "../support/fake-gate.js";
import { sectionOf } from "./documents.js";

const document = "docs/authentication.md";
const secret = "s".repeat(48);
type Claims = Readonly<Record<string, unknown>>;

interface Provider {
  /** The header and claims of an access token as the provider writes it, beside `iss`, `iat` and `exp`. */
  readonly header?: Claims;
  readonly access: Claims;
  /** What the provider signs with the same keys and the recipe must refuse, by what it is. */
  readonly refused: Readonly<Record<string, Claims>>;
  /** A role of the access token, where the recipe says where roles are. */
  readonly role?: string;
  readonly scope?: string;
}

const client = "11111111-1111-1111-1111-111111111111";
const user = { sub: "f2f6c2d5-2f1c-4c3a-9f5b-4a7a8c1f2f10" };

const providers: Readonly<Record<string, Provider>> = {
  Auth0: {
    header: { typ: "JWT" },
    access: {
      sub: "auth0|5f7c8ec7c33c6c004bbafe82",
      aud: ["https://orders.example.com", "https://example.eu.auth0.com/userinfo"],
      azp: "my_client_id",
      scope: "openid profile read:orders",
      permissions: ["read:orders"],
    },
    refused: {
      "an ID token": { sub: "auth0|5f7c8ec7c33c6c004bbafe82", aud: "my_client_id", nonce: "n" },
      "a token for the user info alone": { aud: "https://example.eu.auth0.com/userinfo" },
      "a token of the issuer without its slash": {
        iss: "https://example.eu.auth0.com",
        aud: "https://orders.example.com",
      },
    },
    role: "read:orders",
    scope: "read:orders",
  },
  Keycloak: {
    header: { typ: "JWT" },
    access: {
      ...user,
      aud: ["orders-api", "account"],
      typ: "Bearer",
      azp: "shop-web",
      sid: "2a4bd9d2-1a6c-4a4a-8d4e-0b8f1a5a9c11",
      acr: "1",
      auth_time: nowSeconds() - 60,
      realm_access: { roles: ["offline_access", "shop-admin"] },
      resource_access: { account: { roles: ["manage-account"] } },
      scope: "openid email profile",
    },
    refused: {
      "an ID token": { ...user, aud: "orders-api", typ: "ID", at_hash: "x" },
      "a refresh token": { ...user, aud: "orders-api", typ: "Refresh" },
      "an offline token": { ...user, aud: "orders-api", typ: "Offline" },
      "a logout token": {
        ...user,
        aud: "orders-api",
        typ: "Logout",
        events: { "http://schemas.openid.net/event/backchannel-logout": {} },
      },
      "a token without the audience mapper": { ...user, aud: "account", typ: "Bearer" },
      "a token of another realm": { ...user, aud: "orders-api", iss: "https://id.example.com/realms/other" },
    },
    role: "shop-admin",
    scope: "email",
  },
  "Microsoft Entra ID": {
    header: { typ: "JWT" },
    access: {
      ...user,
      aud: client,
      nbf: nowSeconds(),
      jti: undefined,
      uti: "tS8mXqV0b0qk7v5c0y0SAA",
      oid: "00000000-0000-0000-66f3-3332eca7ea81",
      tid: "00000000-0000-0000-0000-000000000000",
      scp: "Orders.Read Orders.Write",
      roles: ["Orders.Admin"],
      ver: "2.0",
    },
    refused: {
      "a token of another tenant": { ...user, aud: client, iss: "https://login.microsoftonline.com/other/v2.0" },
      "a v1.0 token": { ...user, aud: client, iss: "https://sts.windows.net/00000000-0000-0000-0000-000000000000/" },
      "a token for Microsoft Graph": { ...user, aud: "00000003-0000-0000-c000-000000000000" },
    },
    role: "Orders.Admin",
    scope: "Orders.Write",
  },
  "Amazon Cognito": {
    access: {
      ...user,
      aud: undefined,
      "cognito:groups": ["admins"],
      version: 2,
      client_id: "1example23456789",
      token_use: "access",
      scope: "orders/read",
      auth_time: nowSeconds() - 60,
      username: "alice",
    },
    refused: {
      "an ID token": { ...user, aud: "1example23456789", token_use: "id", "cognito:username": "alice" },
      "an access token of another client": { ...user, aud: undefined, client_id: "other", token_use: "access" },
      "a token that does not say its use": { ...user, aud: undefined, client_id: "1example23456789" },
    },
    role: "admins",
    scope: "orders/read",
  },
  Google: {
    header: { typ: "JWT" },
    access: {
      aud: "https://orders.example.com",
      azp: "100000000000000000001",
      email: "jobs@example.iam.gserviceaccount.com",
      email_verified: true,
      sub: "100000000000000000001",
      jti: undefined,
    },
    refused: {
      "a token of a stranger's service account": { aud: "https://orders.example.com", sub: "200000000000000000002" },
      "a token for another service": { aud: "https://other.example.com", sub: "100000000000000000001" },
    },
  },
};

describe("the recipes in docs/authentication.md", function () {
  this.timeout(30_000);
  let keys: TestIssuer;
  const gates: FakeGate[] = [];
  before(async () => (keys = await TestIssuer.start("RS256")));
  after(() => keys.close());
  afterEach(async () => {
    for (const gate of gates.splice(0)) await gate.close();
  });

  /** The gate of a recipe, but with the keys of our own issuer instead of those it would fetch. */
  function follow(recipe: string, more: object = {}): { gate: FakeGate; issuer: string } {
    const auth = optionsOf(recipe).auth;
    if (auth === undefined) throw new Error("the recipe has no auth");
    const gate = openGate({ auth: { ...auth, ...more } as FakeOptions["auth"] });
    gates.push(gate);
    return { gate, issuer: auth.issuer as string };
  }

  for (const [name, { header = {}, access, refused, role, scope }] of Object.entries(providers)) {
    it(`${name}: accepts its access tokens, and nothing else that it signs`, async () => {
      const { gate, issuer } = follow(name, { jwksUri: keys.jwksUri });
      await admit(gate, await keys.sign({ iss: issuer, ...access }, header));
      const all = { ...refused, "an expired token": { ...access, exp: nowSeconds() - 1 } };
      for (const [what, claims] of Object.entries(all)) {
        const { verdict } = await present(gate, await keys.sign({ iss: issuer, ...claims }, header));
        expect(verdict, what).to.include({ allowed: false, status: 401 });
      }
      await refuse(gate, await keys.sign({ iss: issuer, ...access }, { ...header, kid: "unknown" }));
    });

    if (role === undefined || scope === undefined) continue;
    it(`${name}: finds roles and scopes where the page says`, async () => {
      const { gate, issuer } = follow(name, { jwksUri: keys.jwksUri });
      const token = await keys.sign({ iss: issuer, ...access }, header);
      const passes = async (guard: FakeMiddleware): Promise<boolean> => {
        const exchange = fakeExchange({ headers: { authorization: `Bearer ${token}` } });
        return (await gate.guard({ checks: [gate.guard(), guard] }).check(exchange)).allowed;
      };
      expect(await passes(gate.requireRole(role))).to.equal(true);
      expect(await passes(gate.requireRole("other"))).to.equal(false);
      expect(await passes(gate.requireScopes(scope))).to.equal(true);
      expect(await passes(gate.requireScopes("other"))).to.equal(false);
    });
  }

  it("A shared secret: accepts tokens signed with the secret that have a jti and live for an hour at most", async () => {
    const { gate, issuer } = follow("A shared secret");
    const sign = (claims: Claims) =>
      new SignJWT({
        iss: issuer,
        aud: "orders-api",
        sub: "alice",
        jti: "a",
        iat: nowSeconds(),
        exp: nowSeconds() + 60,
        ...claims,
      })
        .setProtectedHeader({ alg: "HS256" })
        .sign(Buffer.from(secret));
    await admit(gate, await sign({}));
    for (const claims of [{ jti: undefined }, { exp: nowSeconds() + 7200 }, { aud: "x" }, { iss: "x" }])
      await refuse(gate, await sign(claims));
  });

  it("are for all providers that the tests know, and no more", () => {
    const headings = [...sectionOf(document, "Recipes").matchAll(/^### (.*)$/gm)].map(([, heading]) => heading);
    expect(headings).to.deep.equal([...Object.keys(providers), "A shared secret"]);
  });
});

/** The options that the snippet of a recipe gives to portcullis(). */
function optionsOf(recipe: string): ExpressOptions {
  const code = /```ts\n([^]*?)```/.exec(sectionOf(document, recipe))?.[1] ?? "";
  const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022 } });
  const given: ExpressOptions[] = [];
  const run = runInThisContext(`(portcullis, process) => { ${outputText} }`) as (
    portcullis: (options: ExpressOptions) => void,
    process: { readonly env: Readonly<Record<string, string>> },
  ) => void;
  run((options) => given.push(options), { env: { JWT_SECRET: secret } });
  expect(given, recipe).to.have.length(1);
  return given[0] ?? {};
}
