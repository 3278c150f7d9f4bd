import { expect } from "chai";
import { KeysUnavailable } from "../../../packages/core/src/auth/keys/key-source.js";
import { rejectionOf } from "../../support/rejection.js";
import { FakeIssuer, find, jwkOf, keySet, outcome, until } from "../support/issuer.js";
import type { Answer } from "../support/issuer.js";
import { rsa } from "../support/mint.js";
import { watchTimers } from "../../support/timers.js";

/** Bad days of an identity provider. */
const outages: Readonly<Record<string, Answer>> = {
  "status 500": (_req, res) => res.writeHead(500).end('{"keys":[]}'),
  "status 404": (_req, res) => res.writeHead(404).end("{}"),
  "status 204": (_req, res) => res.writeHead(204).end(),
  "status 201 with keys": (_req, res) => res.writeHead(201).end('{"keys":[]}'),
  "a redirect to good keys": (_req, res) => res.writeHead(302, { location: "/good" }).end(),
  "a permanent redirect": (_req, res) => res.writeHead(308, { location: "/good" }).end(),
  nothing: (_req, res) => res.end(),
  HTML: (_req, res) => res.end("<html>maintenance</html>"),
  "JSON cut off": (_req, res) => res.end('{"keys":[{"kty":"RSA"'),
  null: (_req, res) => res.end("null"),
  "a list": (_req, res) => res.end("[]"),
  "no keys member": (_req, res) => res.end('{"jwks":[]}'),
  "keys that are no list": (_req, res) => res.end('{"keys":{}}'),
  "keys that are no objects": (_req, res) => res.end('{"keys":[null,5,"x"]}'),
  "600 KiB": (_req, res) => res.end(`{"keys":[],"x":"${"x".repeat(600 * 1024)}"}`),
  "a stream without end": (_req, res) => {
    const timer = setInterval(() => res.write("x".repeat(65_536)), 1);
    res.on("close", () => clearInterval(timer));
  },
  "a lie about its length": (_req, res) => {
    res.writeHead(200, { "content-length": "5000" }).write('{"keys":[]}');
    setTimeout(() => res.destroy(), 5);
  },
  "a closed connection": (req) => req.socket.destroy(),
};

describe("the keys of an issuer", () => {
  let issuer: FakeIssuer;
  beforeEach(async () => (issuer = await FakeIssuer.start()));
  afterEach(() => issuer.close());

  it("are fetched at once, and then found by kid without asking again", async () => {
    const keys = issuer.open();
    expect(await outcome(keys)).to.equal("found");
    for (let round = 0; round < 50; round += 1) expect(await outcome(keys)).to.equal("found");
    expect(issuer.server.requests).to.deep.equal(["/jwks"]);
    expect(keys.status()).to.equal("up");
  });

  it("are fetched once for all who wait for them", async () => {
    const keys = issuer.open();
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => outcome(keys)));
    expect(new Set(outcomes)).to.deep.equal(new Set(["found"]));
    expect(issuer.server.requests).to.have.length(1);
  });

  it("rotate: an unknown kid fetches once more, and finds the new key", async () => {
    const keys = issuer.open();
    expect(await outcome(keys, "one")).to.equal("found");
    issuer.answer = keySet("one", "two");
    issuer.clock += 30_001;
    expect(await Promise.all(Array.from({ length: 50 }, () => outcome(keys, "two")))).to.deep.equal(
      Array<string>(50).fill("found"),
    );
    expect(issuer.server.requests).to.have.length(2);
    expect((await find(keys, "two"))[0]?.key).not.to.equal((await find(keys, "one"))[0]?.key);
  });

  it("rotate also right after a refresh: a recent fetch does not delay the fetch for a new kid", async () => {
    const keys = issuer.open();
    expect(await outcome(keys, "one")).to.equal("found");
    issuer.answer = keySet("one", "two");
    issuer.clock += 1;
    expect(await outcome(keys, "two")).to.equal("found");
    issuer.answer = keySet("one", "two", "three");
    issuer.clock += 29_000;
    expect(await outcome(keys, "three")).to.equal("none");
    issuer.clock += 1000;
    expect(await outcome(keys, "three")).to.equal("found");
    expect(issuer.server.requests).to.have.length(3);
  });

  it("are no longer found when the issuer has withdrawn them", async () => {
    const keys = issuer.open();
    expect(await outcome(keys, "one")).to.equal("found");
    issuer.answer = keySet("two");
    issuer.clock += 30_001;
    expect(await outcome(keys, "two")).to.equal("found");
    expect(await outcome(keys, "one")).to.equal("none");
  });

  it("have a version that grows when they change, and only then", async () => {
    const keys = issuer.open();
    await outcome(keys);
    const versions = [keys.version];
    for (const answer of [keySet("one"), keySet("one", "two"), keySet("one", "two"), outages.HTML!, keySet("two")]) {
      issuer.answer = answer;
      issuer.clock += 30_001;
      await outcome(keys, "unknown");
      versions.push(keys.version);
    }
    const grew = versions.slice(1).map((version, index) => version > (versions[index] ?? 0));
    expect(grew).to.deep.equal([false, true, false, false, true]);
  });

  it("are asked for at most once in 30 s, however many unknown kids come", async () => {
    const keys = issuer.open();
    await outcome(keys);
    for (let minute = 1; minute <= 3; minute += 1) {
      issuer.clock += 30_001;
      for (let index = 0; index < 1000; index += 1) expect(await outcome(keys, `unknown-${index}`)).to.equal("none");
      expect(issuer.server.requests).to.have.length(1 + minute);
    }
    expect(await outcome(keys)).to.equal("found");
  });

  it("are asked for no more often by unknown kids while the issuer is away", async () => {
    const keys = issuer.open();
    await outcome(keys);
    issuer.answer = outages["status 500"]!;
    issuer.clock += 30_001;
    // Nobody knows whether the issuer has such keys by now: an outage, not a fault of the token.
    for (let index = 0; index < 200; index += 1)
      expect(await outcome(keys, `unknown-${index}`)).to.equal("unavailable");
    expect(issuer.server.requests).to.have.length(2);
    expect(await outcome(keys)).to.equal("found");
  });

  it("are refreshed in the background after ten minutes, and no request waits", async () => {
    const keys = issuer.open();
    await outcome(keys);
    issuer.answer = (req) => req.resume();
    issuer.clock += 600_001;
    const start = performance.now();
    expect(await outcome(keys)).to.equal("found");
    expect(performance.now() - start).to.be.below(1000);
    await until(() => issuer.server.requests.length === 2);
    for (let round = 0; round < 20; round += 1) expect(await outcome(keys)).to.equal("found");
    expect(issuer.server.requests).to.have.length(2);
  });

  for (const [name, outage] of Object.entries(outages)) {
    it(`stay in use through ${name}, and come back with the issuer`, async () => {
      const keys = issuer.open();
      expect(await outcome(keys)).to.equal("found");
      issuer.answer = outage;
      issuer.clock += 600_001;
      expect(await outcome(keys)).to.equal("found");
      await until(() => issuer.warnings.length >= 1);
      expect(await outcome(keys)).to.equal("found");
      expect(keys.status()).to.equal("up");
      issuer.answer = keySet("two");
      issuer.clock += 30_001;
      expect(await outcome(keys, "two")).to.equal("found");
    });

    it(`are unavailable, which is no fault of the token, where ${name} is all there ever was`, async () => {
      issuer.answer = outage;
      const keys = issuer.open();
      expect(await outcome(keys)).to.equal("unavailable");
      expect(keys.status()).to.equal("down");
      expect(JSON.stringify(issuer.warnings)).not.to.match(/\/jwks|maintenance|kty/);
      issuer.answer = keySet("one");
      issuer.clock += 1001;
      expect(await outcome(keys)).to.equal("found");
      expect(keys.status()).to.equal("up");
    });
  }

  it("are fetched at most once a second while there are none", async () => {
    issuer.answer = outages["status 500"]!;
    const keys = issuer.open();
    for (let index = 0; index < 100; index += 1) expect(await outcome(keys)).to.equal("unavailable");
    expect(issuer.server.requests).to.have.length(1);
    issuer.clock += 1001;
    await Promise.all(Array.from({ length: 100 }, () => outcome(keys)));
    expect(issuer.server.requests).to.have.length(2);
  });

  it("are used for a day without the issuer and not longer; health tells", async () => {
    const keys = issuer.open();
    await outcome(keys);
    issuer.answer = outages["status 500"]!;
    issuer.clock += 86_400_000;
    expect(await outcome(keys)).to.equal("found");
    await until(() => issuer.warnings.length === 1);
    issuer.clock += 30_001;
    expect(await outcome(keys)).to.equal("unavailable");
    expect(keys.status(), "requests are refused for want of keys").to.equal("down");
    issuer.answer = keySet("one");
    issuer.clock += 10_001;
    expect(await outcome(keys)).to.equal("found");
    expect(keys.status()).to.equal("up");
  });

  it("are given up after five seconds of silence, once for all who wait", async function () {
    this.timeout(30_000);
    issuer.answer = (req) => req.resume();
    const keys = issuer.open();
    const start = performance.now();
    expect(new Set(await Promise.all(Array.from({ length: 50 }, () => outcome(keys))))).to.deep.equal(
      new Set(["unavailable"]),
    );
    expect(performance.now() - start).to.be.within(4000, 20_000);
    expect(issuer.server.requests).to.have.length(1);
  });

  it("are not used when they are too old, also for a token without kid", async () => {
    // As Keycloak has it: one key that signs, and one that must never verify.
    issuer.answer = (_req, res) =>
      res.end(JSON.stringify({ keys: [jwkOf(rsa, "one"), { ...jwkOf(rsa, "enc"), use: "enc" }] }));
    const keys = issuer.open();
    expect(await outcome(keys)).to.equal("found");
    issuer.answer = (req) => req.socket.destroy();
    issuer.clock += 24 * 3_600_000 + 1;
    const unnamed = await rejectionOf(keys.candidates({ alg: "RS256" }));
    expect(unnamed).to.be.instanceOf(KeysUnavailable);
    expect(await outcome(keys, "enc")).to.equal("unavailable");
  });

  it("wait for the next refresh with one timer, however often they were fetched, and with none after close", async () => {
    const timers = watchTimers();
    const armed = (): unknown[] => timers.filter((timer) => timer._idleTimeout > 60_000 && !timer._destroyed);
    const keys = issuer.open();
    for (let round = 0; round < 20; round += 1) {
      expect(await outcome(keys, "unknown")).to.equal("none");
      issuer.clock += 30_001;
    }
    expect(issuer.server.requests.length).to.be.at.least(20);
    expect(armed()).to.have.length(1);
    keys.close();
    expect(armed()).to.have.length(0);
  });

  it("verify no token after close, since the process does not learn any more of withdrawn keys", async () => {
    const keys = issuer.open();
    expect(await outcome(keys)).to.equal("found");
    const before = keys.version;
    keys.close();
    expect(keys.version).to.not.equal(before);
  });

  it("are not waited for after close", async () => {
    issuer.answer = (req) => req.resume();
    const keys = issuer.open();
    const waiting = outcome(keys);
    await until(() => issuer.server.requests.length === 1);
    const start = performance.now();
    keys.close();
    expect(await waiting).to.equal("unavailable");
    expect(performance.now() - start).to.be.below(1000);
    issuer.clock += 1001;
    expect(await outcome(keys)).to.equal("unavailable");
    expect(issuer.server.requests).to.have.length(1);
    expect(issuer.warnings).to.deep.equal([]);
  });
});
