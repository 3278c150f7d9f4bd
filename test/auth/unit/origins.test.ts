import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { readCredentials, resolveSources } from "../../../packages/core/src/auth/credentials.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";

const token = "eyJh.eyJz.c2ln";

function kindOf(origins: readonly string[], headers: Record<string, string>, method = "POST"): string {
  const sources = resolveSources<undefined>(
    { cookie: "t", origins },
    { publicUrl: undefined, maxLength: 8192, padded: false },
  );
  return readCredentials(fakeExchange({ method, headers: { cookie: `t=${token}`, ...headers } }), sources).kind;
}

const fromOrigin = (origins: readonly string[], origin: string): boolean =>
  kindOf(origins, { origin, "sec-fetch-site": "cross-site" }) === "token";

describe("the origins of a cookie", () => {
  for (const origin of [
    ...["https://app.example.com", "http://192.168.1.5:8080", "http://[fd00::1]:8080", "https://xn--bcher-kva.example"],
    ...["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://obsidian.md", "app://."],
    ...["chrome-extension://abcdefghijklmnopabcdefghijklmnop", "moz-extension://6c1f1c9e-35c8-4a3e-9d3f-0a6a5d1f7c11"],
  ])
    it(`may be ${origin}, which is compared as it is`, () => {
      expect(fromOrigin([origin], origin)).to.equal(true);
      for (const other of [
        `${origin}x`,
        `${origin}.evil.test`,
        `x${origin}`,
        `${origin}/`,
        origin.toUpperCase(),
        "null",
        "",
      ])
        expect(fromOrigin([origin], other), other).to.equal(false);
    });

  it("match every host below a domain with a wildcard, and nothing else", () => {
    const origins = ["https://*.example.com", "http://*.localhost:3000"];
    for (const origin of [
      ...["https://a.example.com", "https://b.a.example.com", "https://a-1_x.example.com"],
      ...["http://app.localhost:3000"],
    ])
      expect(fromOrigin(origins, origin), origin).to.equal(true);
    for (const origin of [
      ...["https://example.com", "https://.example.com", "https://a..example.com", "https://evilexample.com"],
      ...[
        "http://a.example.com",
        "https://a.example.com:8443",
        "https://a.example.com.evil.test",
        "https://*.example.com",
      ],
      ...["https://evil.test/.example.com", "https://evil.test#.example.com", "https://evil.test:1.example.com"],
      ...["https://u@a.example.com", "https://A.example.com", "http://app.localhost", "http://localhost:3000", "null"],
    ])
      expect(fromOrigin(origins, origin), origin).to.equal(false);
  });

  const wrong: readonly [string, RegExp][] = [
    ["null", /must not have "null"/],
    ...[
      "*",
      "https://*",
      ...["https://*.com", "https://*.com.", "https://*.com.:8443", "https://*..com"],
      "https://*.*.example.com",
      "https://a.*.example.com",
      "https://a*.example.com",
    ].map((origin) => [origin, /wildcard only as the first label/] as [string, RegExp]),
    ...[
      "capacitor://*",
      "https://*.example.com/",
      "https://*.Example.com",
      "https://*.example.com:443",
      "http://*.2.3.4",
    ].map((origin) => [origin, /wildcard only as the first label/] as [string, RegExp]),
    ...["https://app.example.com/", "https://app.example.com:443", "https://App.example.com", "app.example.com"].map(
      (origin) => [origin, /origins as browsers send them/] as [string, RegExp],
    ),
    ...[
      "file://",
      "file://localhost",
      "data://x",
      "ws://app.example.com",
      "Capacitor://localhost",
      "app://",
      "app://a/b",
    ].map((origin) => [origin, /origins as browsers send them/] as [string, RegExp]),
  ];
  for (const [origin, message] of wrong)
    it(`are refused at the start as ${JSON.stringify(origin)}`, () => {
      const auth = { ...testAuth, tokenFrom: { cookie: "t", origins: [origin] } };
      expect(() => openGate({ auth })).to.throw(TypeError, message);
    });
});

describe("a stream over plain http in a local network, where browsers name no origin", () => {
  const own = "http://192.168.1.5:8080";
  const stream = { accept: "text/event-stream" };
  const opens = (headers: Record<string, string>, method = "GET"): boolean =>
    kindOf([own], { ...stream, ...headers }, method) === "token";

  it("is opened by the page that Referer names", () => {
    for (const referer of [`${own}/`, `${own}/app?x=1`, own]) expect(opens({ referer }), referer).to.equal(true);
  });

  it("is refused to every other page, and to one that hides", () => {
    for (const referer of [
      ...["http://192.168.1.5:8081/", "https://192.168.1.5:8080/", "http://evil.test/http://192.168.1.5:8080/"],
      ...[`${own}.evil.test/`, `http://192.168.1.5:8080@evil.test/`, "about:blank", "", "/app", "null"],
    ])
      expect(opens({ referer }), referer).to.equal(false);
    expect(opens({})).to.equal(false);
  });

  it("is judged by Origin and Sec-Fetch-Site where there are any, whatever Referer says", () => {
    const referer = `${own}/`;
    expect(opens({ referer, origin: "http://evil.test" })).to.equal(false);
    expect(opens({ referer, origin: "null" })).to.equal(false);
    expect(opens({ referer, "sec-fetch-site": "cross-site" })).to.equal(false);
    expect(opens({ referer, "sec-fetch-site": "same-site" })).to.equal(false);
  });

  it("does not let Referer speak for unsafe methods and WebSocket handshakes", () => {
    const referer = `${own}/`;
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) expect(opens({ referer }, method), method).to.equal(false);
    expect(opens({ referer, upgrade: "websocket" })).to.equal(false);
    expect(opens({ referer, upgrade: "h2c, WebSocket" })).to.equal(false);
  });
});
