import type { LimitOptions, ResponseCacheOptions } from "@portcullis/core";
import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { isWellKnownCredential } from "../../../packages/core/src/response-cache/credentials.js";
import type { RunningApp } from "../../support/app.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import type { StartApp } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { origin } from "../../support/origin.js";
import type { CachedApp } from "../../support/response-cache.js";
import { serveCached } from "../../support/response-cache.js";

/** What tells an application behind a proxy or a gateway who is asking, by whose product it is. */
const wellKnown = {
  "keys and tokens": [
    ...["proxy-authorization", "x-forwarded-authorization", "x-serverless-authorization", "dpop", "signature"],
    ...["x-api-key", "api-key", "apikey", "x-apikey", "x-goog-api-key", "ocp-apim-subscription-key", "x-functions-key"],
    ...["x-token", "x-auth-token", "x-access-token", "x-session-token", "x-id-token", "private-token", "x-vault-token"],
    ...["x-amz-security-token", "x-session-id", "x-hasura-admin-secret", "x-rapidapi-proxy-secret", "x-zumo-auth"],
  ],
  "oauth2-proxy, Louketo, Traefik": [
    ...["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"],
    ...["x-forwarded-access-token", "x-auth-request-user", "x-auth-request-email", "x-auth-username", "x-auth-roles"],
  ],
  "cloud providers": [
    ...[
      "cf-access-jwt-assertion",
      "cf-access-authenticated-user-email",
      "cf-access-client-id",
      "cf-access-client-secret",
    ],
    ...["x-amzn-oidc-data", "x-amzn-oidc-identity", "x-amzn-oidc-accesstoken", "x-amzn-ava-user-context"],
    ...["x-ms-client-principal", "x-ms-client-principal-name", "x-ms-token-aad-id-token"],
    ...["x-goog-iap-jwt-assertion", "x-goog-authenticated-user-email", "x-apigateway-api-userinfo"],
    ...["x-appengine-user-email", "tailscale-user-login", "teleport-jwt-assertion"],
  ],
  "names of an application's own, and of proxies that let one choose": [
    ...["x-auth", "authentication", "x-authtoken", "accesstoken", "x-apitoken", "bearer", "x-signature", "user-key"],
    ...[
      "x-sso-user",
      "x-ldap-user",
      "x-proxy-user",
      "x-current-user",
      "x-end-user-id",
      "x-logged-in-user",
      "user-name",
    ],
    ...["x-token-subject", "x-token-user-email", "x-claim-sub", "x-claims", "x-jwt-claim-sub", "x-forwarded-uid"],
    ...["session", "session-id", "x-sid", "on-behalf-of", "x-ms-on-behalf-of", "x-act-as", "x-actor-id", "x-person-id"],
    ...["x-impersonate-user", "x-shopify-customer-id", "x-amz-cognito-identity", "x-roles", "x-scopes", "x-groups"],
    ...["x-spiffe-id", "l5d-client-id", "x-application-key", "x-private-key", "x-artifactory-username"],
  ],
  "client certificates": [
    ...[
      "client-cert",
      "client-cert-chain",
      "x-client-cert",
      "x-client-cert-dn",
      "x-ssl-client-cert",
      "x-ssl-client-verify",
    ],
    ...["ssl-client-subject-dn", "x-forwarded-client-cert", "x-forwarded-tls-client-cert-info", "x-arr-clientcert"],
    ...["x-amzn-mtls-clientcert", "cf-client-cert-der-base64", "ssl_client_cert"],
  ],
  "sign-on by headers": [
    ...["remote-user", "remote_user", "remote-groups", "x-remote-user", "x-remote-group", "x-remote-extra-scopes"],
    ...[
      "x-user",
      "x-user-id",
      "x-userid",
      "x-userinfo",
      "x-username",
      "x-authenticated-user",
      "x-authenticated-userid",
    ],
    ...["x-authentik-username", "x-webauth-user", "x-pomerium-jwt-assertion", "x-pomerium-claim-email", "x-vouch-user"],
    ...["x-consumer-username", "x-credential-identifier", "x-jwt-assertion", "x-jwt", "oidc_claim_sub", "eppn"],
    ...["shib-session-id", "sm_user", "iv-user", "impersonate-user"],
  ],
};

/** Fields of anonymous requests: where they come from and what they want. */
const anonymous = [
  ...[
    "x-forwarded-for",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-client-ip",
    "fastly-client-ip",
    "forwarded",
  ],
  ...["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-user-agent", "x-user-ip", "x-appengine-user-ip"],
  ...[
    "user-agent",
    "accept",
    "accept-language",
    "cookie",
    "origin",
    "referer",
    "from",
    "via",
    "te",
    "host",
    ":authority",
  ],
  ...[
    "idempotency-key",
    "x-request-id",
    "traceparent",
    "x-csrf-token",
    "x-xsrf-token",
    "x-csrftoken",
    "x-client-data",
    "cf-ray",
  ],
  ...["sec-fetch-site", "sec-ch-ua", "sec-websocket-key", "x-requested-with", "x-tenant", "if-none-match", "save-data"],
  ...["sec-fetch-user", "sec-fetch-mode", "x-user-agent", "x-device-id", "x-app-version", "x-group-by", "x-author"],
  ...["x-remote-addr", "remote-addr", "authority", "keep-alive", "x-amzn-trace-id", "x-ms-request-id", "priority"],
];

describe("the headers that are known to carry credentials", () => {
  for (const [whose, names] of Object.entries(wellKnown))
    it(`are those of ${whose}`, () => {
      expect(names.filter((name) => !isWellKnownCredential(name))).to.deep.equal([]);
    });

  it("do not include fields about the location or the preferences of a client", () => {
    expect(anonymous.filter(isWellKnownCredential)).to.deep.equal([]);
  });
});

/** What each of two people, and nobody, gets who ask one after another. */
async function askInTurn({ url }: Pick<RunningApp, "url">, header: string): Promise<string[]> {
  const texts: string[] = [];
  for (const value of ["alice", undefined, "bob", undefined, "alice"])
    texts.push((await send(`${url}/me`, value === undefined ? {} : { headers: { [header]: value } })).text);
  return texts;
}

const apart = ["alice", "nobody", "bob", "nobody", "alice"];

describeOnEveryFramework("a response that was made for credentials", (start) => {
  function serveNameIn(
    header: string,
    options: ResponseCacheOptions = {},
    gateOptions: Parameters<StartApp>[0] = {},
  ): Promise<CachedApp> {
    return serveCached(
      start,
      ({ headers }) => ({ body: String(headers[header] ?? "nobody") }),
      { ttl: "1m", ...options },
      gateOptions,
    );
  }

  it("is for their user only, in any well-known header", async () => {
    for (const header of ["x-api-key", "x-forwarded-user", "cf-access-jwt-assertion", "x-amzn-oidc-data", "x-token"]) {
      const app = await serveNameIn(header);
      expect(await askInTurn(app, header), header).to.deep.equal(apart);
      // That of the anonymous was kept.
      expect(app.calls()).to.equal(4);
    }
  });

  it("is shared if the response allows it, as with Authorization", async () => {
    for (const [control, calls] of [
      ["max-age=60", 4],
      ["public, max-age=60", 1],
      ["s-maxage=60", 1],
      ["max-age=60, must-revalidate", 1],
      ["private, max-age=60", 5],
    ] as const) {
      const app = await serveCached(start, () => ({ headers: { "cache-control": control }, body: "the same" }));
      await askInTurn(app, "x-api-key");
      expect(app.calls(), control).to.equal(calls);
    }
  });

  it("reports in Cache-Status that it is not stored because of credentials, and where they were", async () => {
    const app = await serveNameIn("x-api-key");
    const statusWith = async (headers: Record<string, string>) =>
      (await send(`${app.url}/me`, { headers })).headers["cache-status"];
    expect(await statusWith({ "x-api-key": "k" })).to.equal(
      'portcullis; fwd=uri-miss; detail="credentials: x-api-key"',
    );
    expect(await statusWith({ authorization: "Basic YTpi" })).to.equal(
      'portcullis; fwd=uri-miss; detail="credentials: authorization"',
    );
    expect(await statusWith({ cookie: "sid=1" })).to.equal('portcullis; fwd=uri-miss; detail="credentials: cookie"');
    expect(await statusWith({})).to.equal("portcullis; fwd=uri-miss; stored");
    const never = await serveCached(start, () => ({ headers: { "cache-control": "no-store" }, body: "x" }));
    const { headers } = await send(`${never.url}/a`, { headers: { "x-api-key": "k" } });
    expect(headers["cache-status"]).to.equal("portcullis; fwd=uri-miss");
  });

  it("is for one client only if limits count by a header, except by addresses and by fields of every request", async () => {
    const limit = (header: string): LimitOptions => ({ name: "own", per: { header }, limit: 99, window: "1m" });
    const app = await serveNameIn("x-staff", {}, { limits: [limit("X-Staff")] });
    expect(await askInTurn(app, "x-staff")).to.deep.equal(apart);
    for (const header of ["x-real-ip", "user-agent", "host"]) {
      const open = await serveCached(start, () => ({ body: "x" }), { ttl: "1m" }, { limits: [limit(header)] });
      const sent = { "user-agent": "x", "x-real-ip": "192.0.2.7" };
      for (let round = 0; round < 2; round += 1) await send(`${open.url}/a`, { headers: sent });
      expect(open.calls(), header).to.equal(1);
    }
    const later = await start(
      {},
      {
        routes: {},
        use: (gate) => {
          const cache = gate.cacheResponse({ ttl: "1m" });
          const limited = gate.limit({ name: "later", per: ["ip", { header: "X-Desk" }], limit: 99, window: "1m" });
          return [limited, cache, origin(({ headers }) => ({ body: String(headers["x-desk"] ?? "nobody") }))];
        },
      },
    );
    expect(await askInTurn(later, "x-desk")).to.deep.equal(apart);
  });

  it("is for their user only if a cookie or a function of tokenFrom finds them, also without a guard in front", async () => {
    const token = await signToken({ sub: "alice" });
    const read = (raw: { headers: Record<string, unknown> }) => raw.headers["x-app-auth"] as string | undefined;
    const app = await start(
      { auth: { ...testAuth, tokenFrom: [{ cookie: "session" }, read] } },
      {
        routes: {},
        use: (gate) => [
          gate.cacheResponse(),
          origin(({ headers }) => ({
            headers: { "cache-control": "max-age=60" },
            body: String(headers.cookie ?? headers["x-app-auth"] ?? "nobody"),
          })),
        ],
      },
    );
    for (const headers of [{ cookie: `session=${token}` }, { "x-app-auth": token }, { "x-app-auth": "bob" }])
      expect((await send(`${app.url}/me`, { headers: { ...headers } })).text).to.equal(Object.values(headers)[0]);
    expect((await send(`${app.url}/me`)).text).to.equal("nobody");
    // Another cookie says nothing of who is asking, and the response says itself how long it is good.
    expect((await send(`${app.url}/me`, { headers: { cookie: "theme=dark" } })).text).to.equal("nobody");
    expect((await send(`${app.url}/me`, { headers: { cookie: "theme=dark; session=x" } })).text).to.include(
      "session=x",
    );
  });

  it("is determined by the application's own list; headers on its other list are no credentials", async () => {
    const added = await serveNameIn("x-desk", { credentials: { add: ["X-Desk"] } });
    expect(await askInTurn(added, "x-desk")).to.deep.equal(apart);
    const excepted = await serveCached(
      start,
      () => ({ body: "x" }),
      { ttl: "1m", credentials: { except: ["X-User-Country", "x-desk"] } },
      { limits: [{ name: "desk", per: { header: "x-desk" }, limit: 99, window: "1m" }] },
    );
    const sent: Record<string, string>[] = [{ "x-user-country": "de" }, { "x-desk": "1" }, {}];
    for (const headers of sent) await send(`${excepted.url}/a`, { headers });
    expect(excepted.calls()).to.equal(1);
  });

  it("is stored for a user and the credentials of the request, if each user has own responses", async () => {
    const app = await serveCached(
      start,
      ({ headers, auth }) => ({ body: `${String(auth?.subject)} for ${String(headers["x-api-key"] ?? "herself")}` }),
      { ttl: "1m", per: "user" },
    );
    const token = await signToken({ sub: "alice" });
    for (const key of ["acme", undefined, "acme", undefined]) {
      const headers: Record<string, string> = key === undefined ? {} : { "x-api-key": key };
      expect((await send(`${app.url}/a`, { token, headers })).text).to.equal(`alice for ${key ?? "herself"}`);
    }
    expect(app.calls()).to.equal(2);
  });
});
