import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { readCredentials } from "../../../packages/core/src/auth/credentials.js";
import type { Credentials, TokenSource } from "../../../packages/core/src/auth/credentials.js";
import type { FakeRequest } from "../../support/fake-gate.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { withClaims } from "../support/mint.js";

const cookie: TokenSource<undefined> = { kind: "cookie", name: "session", origins: new Set(["https://app.test"]) };
const token = "eyJh.eyJz.c2ln";

describe("a token cookie", () => {
  const from = (text: string, request: FakeRequest = {}): Credentials =>
    readCredentials(fakeExchange({ ...request, headers: { cookie: text, ...request.headers } }), [cookie]);

  it("is found among others", () => {
    for (const text of [
      `session=${token}`,
      `a=b; session=${token}; c=d`,
      `a=b;session=${token}`,
      `session="${token}"`,
      ` session = ${token} `,
    ]) {
      expect(from(text), text).to.deep.equal({ kind: "token", token, scheme: "Bearer" });
    }
  });

  it("is not found under a name that is only like its own", () => {
    for (const text of [
      `Session=${token}`,
      `xsession=${token}`,
      `session2=${token}`,
      `a=session=${token}`,
      `session; ${token}`,
      "session",
      "session=",
      "",
    ]) {
      expect(from(text).kind, text).to.equal("none");
    }
  });

  it("is malformed if it is no token", () => {
    for (const text of [
      "session=x",
      "session=a.b",
      `session=${token}x y`,
      `session="${token}`,
      `session=%22${token}%22`,
    ]) {
      expect(from(text).kind, text).to.equal("malformed");
    }
  });

  for (const method of ["POST", "PUT", "PATCH", "DELETE", "QUERY", "PROPFIND", "get", "post", "CONNECT", "TRACE", ""]) {
    it(`with ${method || "no method"} must prove its origin`, () => {
      const kind = (headers: Record<string, string>): string => from(`session=${token}`, { method, headers }).kind;
      expect(kind({})).to.equal("foreign_origin");
      expect(kind({ origin: "https://app.test" })).to.equal("token");
      expect(kind({ "sec-fetch-site": "same-origin" })).to.equal("token");
      const foreign = [
        "https://evil.test",
        "null",
        "",
        "*",
        "https://app.test.evil.test",
        "http://app.test",
        "https://app.test:8443",
        "HTTPS://APP.TEST",
        "https://app.test/",
        "https://app.test, https://app.test",
      ];
      for (const origin of foreign) expect(kind({ origin }), origin).to.equal("foreign_origin");
      for (const site of ["cross-site", "same-site", "none", "", "Same-Origin", "same-origin, cross-site"]) {
        expect(kind({ "sec-fetch-site": site }), site).to.equal("foreign_origin");
      }
      expect(kind({ referer: "https://app.test/" })).to.equal("foreign_origin");
    });
  }

  for (const method of ["GET", "HEAD", "OPTIONS"]) {
    it(`with ${method} needs no origin, since nothing changes`, () => {
      expect(from(`session=${token}`, { method, headers: { origin: "https://evil.test" } }).kind).to.equal("token");
    });
  }

  const handshakes: Readonly<Record<string, Record<string, string>>> = {
    "a WebSocket among other protocols": { upgrade: "h2c, WebSocket" },
    "a WebSocket": { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13" },
    "server-sent events": { accept: "text/event-stream" },
  };
  for (const [name, headers] of Object.entries(handshakes)) {
    it(`must prove its origin if it opens ${name}, although that is a GET`, () => {
      const kind = (origin: string): string => from(`session=${token}`, { headers: { ...headers, origin } }).kind;
      expect(kind("https://app.test")).to.equal("token");
      for (const origin of ["https://evil.test", "null", ""]) expect(kind(origin), origin).to.equal("foreign_origin");
    });
  }

  it("is ambiguous if a request has two of its name: one may be of another site below the same domain", async () => {
    for (const text of [
      `session=${token}; session=${token}x`,
      `session=${token}; a=b; session=other`,
      `session=x;session=${token}`,
    ])
      expect(from(text).kind, text).to.equal("ambiguous");
    for (const text of [
      `session=${token}; session=${token}`,
      `session=; session=${token}`,
      `session=${token};session=`,
    ])
      expect(from(text), text).to.deep.equal({ kind: "token", token, scheme: "Bearer" });
    const gate = openGate({ auth: { ...testAuth, tokenFrom: { cookie: "session" } } });
    const both = { cookie: `session=${withClaims({ sub: "mallory" })}; session=${withClaims({})}` };
    expect(await gate.guard().check(fakeExchange({ headers: both }))).to.include({ allowed: false, status: 400 });
    await gate.close();
  });

  it("may come from the origin of publicUrl, also from browsers that do not say Sec-Fetch-Site", async () => {
    const auth = { ...testAuth, tokenFrom: { cookie: "session" } };
    const cookieHeader = `session=${withClaims({})}`;
    const status = async (publicUrl: string | undefined, origin: string) => {
      const gate = openGate({ publicUrl, auth });
      const request = fakeExchange({ method: "POST", headers: { cookie: cookieHeader, origin } });
      const { allowed } = await gate.guard().check(request);
      await gate.close();
      return allowed;
    };
    expect(await status("https://api.test/v1", "https://api.test")).to.be.true;
    for (const origin of ["https://evil.test", "http://api.test", "https://api.test:8443", "https://api.test/v1"])
      expect(await status("https://api.test/v1", origin), origin).to.be.false;
    expect(await status(undefined, "https://api.test")).to.be.false;
  });

  it("of a foreign origin is refused with 403, not taken for anonymous", async () => {
    const guard = openGate({ auth: { ...testAuth, optional: true, tokenFrom: { cookie: "session" } } }).guard();
    const headers = { cookie: `session=${withClaims({})}` };
    const verdict = await guard.check(fakeExchange({ method: "POST", headers }));
    expect(verdict).to.include({ allowed: false, status: 403 });
    expect((await guard.check(fakeExchange({ method: "GET", headers }))).allowed).to.be.true;
  });
});
