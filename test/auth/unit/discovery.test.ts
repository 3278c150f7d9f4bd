import { expect } from "chai";
import { isTrustworthyUrl } from "../../../packages/core/src/lib/validate.js";
import { FakeIssuer, keySet, outcome, until } from "../support/issuer.js";

describe("the keys of an issuer, by discovery", () => {
  let issuer: FakeIssuer;
  beforeEach(async () => (issuer = await FakeIssuer.start()));
  afterEach(() => issuer.close());

  let metadata: (url: string) => unknown;

  beforeEach(() => {
    metadata = (url) => ({ issuer: url, jwks_uri: `${url}/keys` });
    issuer.answer = (req, res) => {
      if (req.url === "/keys") keySet("one")(req, res);
      else if (req.url?.endsWith("/.well-known/openid-configuration") === true)
        res.end(JSON.stringify(metadata(issuer.server.url)));
      else res.writeHead(404).end();
    };
  });

  it("are found where the issuer's metadata say", async () => {
    const keys = issuer.open({ issuer: issuer.server.url });
    expect(await outcome(keys)).to.equal("found");
    expect(issuer.server.requests).to.deep.equal(["/.well-known/openid-configuration", "/keys"]);
  });

  it("are found for an issuer with a path or a slash at its end", async () => {
    for (const suffix of ["/tenant", "/"]) {
      metadata = (url) => ({ issuer: url + suffix, jwks_uri: `${url}/keys` });
      expect(await outcome(issuer.open({ issuer: issuer.server.url + suffix }))).to.equal("found");
    }
    expect(issuer.server.requests).to.include("/tenant/.well-known/openid-configuration");
    expect(issuer.server.requests.filter((path) => path.includes("//"))).to.deep.equal([]);
  });

  const wrong: Readonly<Record<string, (url: string) => unknown>> = {
    "metadata of another issuer": (url) => ({ issuer: "https://evil.test", jwks_uri: `${url}/keys` }),
    "metadata without issuer": (url) => ({ jwks_uri: `${url}/keys` }),
    "an issuer with another ending": (url) => ({ issuer: `${url}/`, jwks_uri: `${url}/keys` }),
    "an issuer in a list": (url) => ({ issuer: [url], jwks_uri: `${url}/keys` }),
    "no jwks_uri": (url) => ({ issuer: url }),
    "a jwks_uri that is no text": (url) => ({ issuer: url, jwks_uri: [`${url}/keys`] }),
    "a jwks_uri of http elsewhere": (url) => ({ issuer: url, jwks_uri: "http://id.test/keys" }),
    "a jwks_uri that is a file": (url) => ({ issuer: url, jwks_uri: "file:///etc/passwd" }),
    "a relative jwks_uri": (url) => ({ issuer: url, jwks_uri: "/keys" }),
    "metadata that are null": () => null,
    "metadata that are a list": () => [],
    "metadata behind __proto__": (url) =>
      JSON.parse(`{"__proto__":{"issuer":"${url}","jwks_uri":"${url}/keys"}}`) as unknown,
  };
  for (const [name, make] of Object.entries(wrong)) {
    it(`are not fetched by ${name}`, async () => {
      metadata = make;
      expect(await outcome(issuer.open({ issuer: issuer.server.url }))).to.equal("unavailable");
      expect(issuer.server.requests).to.deep.equal(["/.well-known/openid-configuration"]);
      expect(issuer.warnings).to.have.length(1);
    });
  }

  it("stay in use when the metadata turn bad", async () => {
    const keys = issuer.open({ issuer: issuer.server.url });
    expect(await outcome(keys)).to.equal("found");
    metadata = wrong["metadata of another issuer"]!;
    issuer.clock += 600_001;
    expect(await outcome(keys)).to.equal("found");
    await until(() => issuer.warnings.length === 1);
    expect(await outcome(keys)).to.equal("found");
  });

  it("never have their whole address in the log, with a password in it even less", async () => {
    issuer.answer = (_req, res) => {
      const { url } = issuer.server;
      res.end(JSON.stringify({ issuer: url, jwks_uri: "https://user:hunter2@127.0.0.1/keys" }));
    };
    expect(await outcome(issuer.open({ issuer: issuer.server.url }))).to.equal("unavailable");
    expect(issuer.warnings).to.have.length(1);
    expect(JSON.stringify(issuer.warnings)).not.to.match(/hunter2|user|keys"/);
  });
});

describe("an address that is trusted with keys", () => {
  it("is https, or http to this machine itself", () => {
    for (const url of [
      "https://id.test/",
      "https://id.test:8443/a?b",
      "HTTPS://ID.TEST",
      "http://localhost",
      "http://127.0.0.1:9/x",
      "http://[::1]:9/",
      "http://LOCALHOST/",
    ]) {
      expect(isTrustworthyUrl(url), url).to.be.true;
    }
    const wrong = [
      "https://user@id.test/",
      "https://user:password@id.test/",
      "http://user:password@localhost/",
      "http://id.test",
      "http://localhost.id.test",
      "http://127.0.0.1.id.test",
      "http://localhost@id.test",
      "ftp://localhost",
      "file:///x",
      "data:,x",
      "//id.test",
      "id.test",
      "",
      "https://",
      "javascript:0",
      "http://0.0.0.0.id.test",
      "ws://localhost",
      "blob:https://id.test/x",
    ];
    for (const url of wrong) expect(isTrustworthyUrl(url), url).to.be.false;
  });
});
