import { expect } from "chai";
import { testSecret } from "@portcullis/testkit";
import { reachOf, guardLookup } from "../../../packages/core/src/auth/keys/private-address.js";
import { openGate } from "../../support/fake-gate.js";

describe("the options of fetched keys", () => {
  const open = (auth: object) => openGate({ auth: { audience: false, ...auth } as never });

  it("are checked at start-up", () => {
    const jwksUri = "https://id.example.com/jwks";
    const wrong: [object, RegExp][] = [
      [{ jwksUri, remoteKeys: { refresh: 0 } }, /auth\.remoteKeys\.refresh/],
      [{ jwksUri, remoteKeys: { refreshMs: 5 } }, /auth\.remoteKeys\.refreshMs is not an option/],
      [{ jwksUri, remoteKeys: { refresh: "1h", maxStale: "1h" } }, /auth\.remoteKeys\.maxStale must be longer/],
      [{ jwksUri, remoteKeys: { timeout: "2m" } }, /auth\.remoteKeys\.timeout/],
      [{ jwksUri, remoteKeys: { cooldown: "soon" } }, /auth\.remoteKeys\.cooldown/],
      [{ jwksUri, remoteKeys: { allowPrivateAddresses: 1 } }, /auth\.remoteKeys\.allowPrivateAddresses/],
      [{ jwksUri, remoteKeys: null }, /auth\.remoteKeys must be an object/],
      [
        { secret: testSecret, algorithms: ["HS256"], remoteKeys: {} },
        /auth\.remoteKeys has an effect only on keys that are fetched/,
      ],
      [{ jwksUri: "https://10.0.0.5/jwks" }, /private address/],
      [{ jwksUri: "https://[fd00::1]/jwks" }, /private address/],
      [{ jwksUri: "https://[::ffff:169.254.169.254]/jwks" }, /private address/],
      [{ issuer: "https://169.254.169.254" }, /private address/],
    ];
    for (const [auth, message] of wrong) expect(() => open(auth), String(message)).to.throw(message);
  });
});

describe("an address that keys are fetched from", () => {
  it("is public, private or this machine", () => {
    for (const [address, reach] of [
      ["8.8.8.8", "public"],
      ["2606:4700::1111", "public"],
      ["127.0.0.1", "loopback"],
      ["127.9.9.9", "loopback"],
      ["::1", "loopback"],
      ["::ffff:127.0.0.1", "loopback"],
      ["10.1.2.3", "private"],
      ["172.31.0.1", "private"],
      ["172.32.0.1", "public"],
      ["192.168.1.1", "private"],
      ["169.254.169.254", "private"],
      ["100.64.0.1", "private"],
      ["0.0.0.0", "private"],
      ["::", "private"],
      ["::ffff:10.0.0.1", "private"],
      ["::ffff:8.8.8.8", "public"],
      ["64:ff9b::10.0.0.1", "private"],
      ["64:ff9b::8.8.8.8", "public"],
      ["64:ff9b::127.0.0.1", "private"],
      ["64:ff9b::169.254.169.254", "private"],
      ["64:ff9b:1::8.8.8.8", "private"],
      ["2002:7f00:1::", "private"],
      ["2002:a9fe:a9fe::1", "private"],
      ["2002:808:808::1", "private"],
      ["2001:0:102:304::f7f7:f7f7", "private"],
      ["::127.0.0.1", "private"],
      ["fd00::1", "private"],
      ["fe80::1%eth0", "private"],
      ["ff02::1", "private"],
      ["2001:db8::1", "private"],
      ["nonsense", "private"],
    ] as const)
      expect(reachOf(address), address).to.equal(reach);
  });

  it("is checked at the connection: a name of a private address is refused, a private address among others is left out", async () => {
    const answering = (...addresses: string[]) =>
      ((_name: string, _options: object, callback: (error: null, found: object[]) => void) =>
        callback(
          null,
          addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
        )) as never;
    const ask = (hostname: string, allow: boolean, ...addresses: string[]) =>
      new Promise((resolve) => {
        guardLookup(hostname, allow, answering(...addresses))(hostname, { all: true }, (error, found) =>
          resolve(error === null ? found : error.name),
        );
      });
    const outside = { address: "8.8.8.8", family: 4 };
    expect(await ask("id.example.com", false, "8.8.8.8")).to.deep.equal([outside]);
    expect(await ask("id.example.com", false, "10.0.0.1", "8.8.8.8")).to.deep.equal([outside]);
    expect(await ask("id.example.com", false, "10.0.0.1")).to.equal("AddressRefused");
    expect(await ask("id.example.com", false, "127.0.0.1")).to.equal("AddressRefused");
    expect(await ask("id.example.com", true, "10.0.0.1")).to.deep.equal([{ address: "10.0.0.1", family: 4 }]);
    expect(await ask("localhost", false, "10.0.0.1")).to.equal("AddressRefused");
    expect(await ask("localhost", false, "127.0.0.1")).to.deep.equal([{ address: "127.0.0.1", family: 4 }]);
    expect(() => guardLookup("10.0.0.1", false)).to.throw(/private address/);
  });
});
