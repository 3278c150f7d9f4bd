import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { fetchJson } from "../../../packages/core/src/auth/keys/fetch-json.js";
import { AddressRefused, guardLookup } from "../../../packages/core/src/auth/keys/private-address.js";
import { RemoteKeys } from "../../../packages/core/src/auth/keys/remote-keys.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { rejectionOf } from "../../support/rejection.js";
import { openGate, refuse } from "../../support/fake-gate.js";
import { FakeIssuer, keySet, outcome, until } from "../support/issuer.js";
import { claimsWith, forge } from "../support/mint.js";

/** A token that nobody has signed. */
function unsigned(iss: string): string {
  return forge({ alg: "RS256" }, claimsWith({ iss }), () => "AAAA");
}

/** Hosts of this machine and of private networks, in the spellings that a URL may have. */
function innerHosts(port: number): string[] {
  const here = [
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "127.1",
    "127.0.0.2",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "0x7f000001",
  ];
  const v6 = [
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
  ];
  const inner = [
    "0.0.0.0",
    "[::]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
  ];
  const innerV6 = [
    "[fd00::1]",
    "[fe80::1]",
    "[64:ff9b:1::a00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[::ffff:10.0.0.1]",
    "[2002:a00:1::1]",
  ];
  return [...here, ...v6, ...inner, ...innerV6, "[::127.0.0.1]", "[2001:0:7f00:1::]"].map((host) => `${host}:${port}`);
}

describe("a token that names an issuer of its own choice", () => {
  it("makes the gate connect neither to this machine nor to a private network", async () => {
    let connections = 0;
    const server = createServer((socket) => {
      connections += 1;
      socket.destroy();
    }).listen(0, "::");
    cleanUpInTest(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const warnings: unknown[] = [];
    const logger = { debug: () => undefined, warn: (...said: unknown[]) => void warnings.push(said) };
    const gate = openGate({ logger, auth: { issuer: () => true, audience: false } });
    for (const host of innerHosts(port)) {
      for (const iss of [`https://${host}/internal`, `http://${host}/internal/v2.0`]) {
        const { problem } = await refuse(gate, unsigned(iss));
        expect(problem.code, iss).to.equal("token_invalid");
      }
    }
    expect(connections).to.equal(0);
    // Nor does it fill the log.
    expect(warnings).to.deep.equal([]);
  });

  it("reaches this machine only with allowPrivateAddresses", async () => {
    const issuer = await FakeIssuer.start();
    cleanUpInTest(() => issuer.close());
    const accepted = (iss: string): boolean => iss.startsWith(issuer.server.url);
    const closed = openGate({ auth: { issuer: accepted, audience: false } });
    await refuse(closed, unsigned(`${issuer.server.url}/a`));
    expect(issuer.server.requests).to.deep.equal([]);
    const remoteKeys = { allowPrivateAddresses: true };
    const openToHere = openGate({ auth: { issuer: accepted, audience: false, remoteKeys } });
    await refuse(openToHere, unsigned(`${issuer.server.url}/a`));
    expect(issuer.server.requests).to.include("/a/.well-known/openid-configuration");
    // An issuer that the options name needs no permission.
    const requests = issuer.server.requests.length;
    openGate({ auth: { issuer: issuer.server.url, audience: false } });
    await until(() => issuer.server.requests.length > requests);
  });

  it("is refused in lists of issuers too, beside one that is named", async () => {
    const issuer = await FakeIssuer.start();
    cleanUpInTest(() => issuer.close());
    const named = { issuer: "https://id.test", secret: testSecret, algorithms: ["HS256"] as const };
    const gate = openGate({ auth: { audience: false, issuers: [named, { issuer: () => true }] } });
    await refuse(gate, unsigned(`${issuer.server.url}/a`));
    expect(issuer.server.requests).to.deep.equal([]);
  });
});

describe("keys of an issuer that the options do not name", () => {
  it("are not fetched from this machine, neither by address nor by a name or metadata that lead here", async () => {
    const issuer = await FakeIssuer.start();
    cleanUpInTest(() => issuer.close());
    issuer.answer = keySet("one");
    const { port } = new URL(issuer.server.url);
    const options = { signal: AbortSignal.timeout(5000), maxBytes: 10_000, allowPrivateAddresses: false } as const;
    // As the jwks_uri in the metadata of a public issuer.
    for (const host of ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]", "127.1"]) {
      const url = `http://${host}:${port}/keys`;
      const refused = await rejectionOf(fetchJson(url, { ...options, allowLoopback: false }));
      expect((refused as Error).message, host).to.match(/this machine, and the options do not name it/);
    }
    expect(issuer.server.connections).to.equal(0);
    expect(issuer.server.requests).to.deep.equal([]);
    expect(await fetchJson(`${issuer.server.url}/keys`, options)).to.have.property("keys");

    const resolve = ((_name: string, _options: object, found: (error: null, addresses: object[]) => void) =>
      found(null, [
        { address: "127.0.0.1", family: 4 },
        { address: "64:ff9b::7f00:1", family: 6 },
      ])) as never;
    const keys = new RemoteKeys({
      location: { issuer: `https://tenant.test:${port}` },
      isNamed: false,
      algorithms: ["RS256"] as const,
      logger: { debug: () => undefined, warn: () => undefined },
      now: Date.now,
      resolve,
    });
    cleanUpInTest(() => keys.close());
    expect(await outcome(keys)).to.equal("unavailable");
    expect(issuer.server.connections).to.equal(1);
  });

  it("are fetched from no literal address of this machine, and say how it would be allowed", () => {
    const refuseHere = /this machine, and the options do not name it; .* allowPrivateAddresses/;
    for (const host of ["127.0.0.1", "[::1]"])
      expect(() => guardLookup(host, false, undefined, false), host).to.throw(AddressRefused, refuseHere);
    for (const host of ["127.0.0.1", "[::1]", "localhost", "id.test"]) {
      expect(() => guardLookup(host, true, undefined, false), host).not.to.throw();
      expect(() => guardLookup(host, false), host).not.to.throw();
    }
  });
});
