import { createServer as createTlsServer, get } from "node:https";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { setTimeout as pause } from "node:timers/promises";
import { makeCertificates } from "@portcullis/testkit";
import { expect } from "chai";
import type { FetchFunction } from "../../../packages/core/src/index.js";
import { fetchJson } from "../../../packages/core/src/auth/keys/fetch-json.js";
import type { FetchOptions } from "../../../packages/core/src/auth/keys/fetch-json.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import { startServer } from "../../support/local-server.js";
import { rejectionOf } from "../../support/rejection.js";
import { FakeIssuer, jwkOf, keySet, outcome, until } from "../support/issuer.js";
import type { Answer } from "../support/issuer.js";
import { claimsWith, forge, rs256, rsa } from "../support/mint.js";

const document = JSON.stringify({ keys: [jwkOf(rsa, "one")] });

function options(more: Partial<FetchOptions> = {}): FetchOptions {
  return { signal: AbortSignal.timeout(5000), maxBytes: 10_000, allowPrivateAddresses: false, ...more };
}

async function causeOf(promise: Promise<unknown>): Promise<string> {
  return ((await rejectionOf(promise)) as Error).message;
}

function tokenOf(iss: string, kid = "one"): string {
  return forge({ alg: "RS256", kid }, claimsWith({ iss }), rs256(rsa));
}

describe("a key set", () => {
  it("is fetched from a server that serves only its registered type, as kube-apiserver does", async () => {
    const strict: Answer = (req, res) => {
      if (!(req.headers.accept ?? "").includes("application/jwk-set+json")) return void res.writeHead(406).end();
      res.writeHead(200, { "content-type": "application/jwk-set+json" }).end(document);
    };
    const { url } = await startServer(strict);
    expect(await fetchJson(`${url}/openid/v1/jwks`, options())).to.deep.equal(JSON.parse(document));
  });

  const encodings: readonly [string, Buffer][] = [
    ["gzip", gzipSync(document)],
    ["x-gzip", gzipSync(document)],
    ["GZIP", gzipSync(document)],
    ["deflate", deflateSync(document)],
    ["br", brotliCompressSync(document)],
    ["identity", Buffer.from(document)],
  ];
  for (const [encoding, bytes] of encodings) {
    it(`is read in the content encoding ${encoding}`, async () => {
      const { url } = await startServer((_req, res) => res.setHeader("content-encoding", encoding).end(bytes));
      expect(await fetchJson(url, options())).to.deep.equal(JSON.parse(document));
    });
  }

  it("is bounded by its size after decompression", async () => {
    const bomb = gzipSync(Buffer.alloc(5_000_000, 0x20));
    expect(bomb.length).to.be.below(10_000);
    const { url } = await startServer((_req, res) => res.setHeader("content-encoding", "gzip").end(bomb));
    expect(await causeOf(fetchJson(url, options()))).to.match(/longer than 10000 bytes/);
  });

  it("that cannot be fetched is reported with its host, and with the status or the cause", async () => {
    const answers: Readonly<Record<string, Answer>> = {
      "/status": (_req, res) => res.writeHead(503).end(),
      "/redirect": (_req, res) => res.writeHead(302, { location: "/" }).end(),
      "/html": (_req, res) => res.end("<html>"),
      "/coding": (_req, res) => res.setHeader("content-encoding", "zstd").end("x"),
      "/damaged": (_req, res) => res.setHeader("content-encoding", "gzip").end("not gzip"),
      "/reset": (req) => req.socket.destroy(),
      "/slow": () => undefined,
    };
    const { url } = await startServer((req, res) => answers[req.url ?? ""]?.(req, res));
    const { host } = new URL(url);
    const expected: readonly [string, RegExp][] = [
      ["/status", /status 503$/],
      ["/redirect", /is a redirect, which is not followed, with status 302$/],
      ["/html", /is not JSON$/],
      ["/coding", /Content-Encoding other than identity, gzip/],
      ["/damaged", /is damaged$/],
      ["/reset", /ECONNRESET$/],
    ];
    for (const [path, reason] of expected) {
      const cause = await causeOf(fetchJson(url + path, options()));
      expect(cause.startsWith(`${host}: `), cause).to.be.true;
      expect(cause).to.match(reason).and.not.to.include(path);
    }
    expect(await causeOf(fetchJson("https://name.invalid/x", options()))).to.match(
      /^name\.invalid: the request failed: (ENOTFOUND|EAI_AGAIN)$/,
    );
    const abort = new AbortController();
    const slow = fetchJson(`${url}/slow`, options({ signal: abort.signal }));
    abort.abort(new Error("late"));
    expect(await causeOf(slow)).to.match(new RegExp(`^${host}: `));
  });

  it("behind a certificate of a private authority is reported with the code of OpenSSL, and comes with that authority", async () => {
    const { ca, server: identity } = makeCertificates();
    const server = createTlsServer(identity, (_req, res) => res.end(document)).listen(0, "127.0.0.1");
    cleanUpInTest(() => void server.close());
    await once(server, "listening");
    const url = `https://localhost:${(server.address() as AddressInfo).port}/jwks`;
    const untrusted =
      /^localhost:\d+: the request failed: (UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN)$/;
    expect(await causeOf(fetchJson(url, options()))).to.match(untrusted);
    expect(await causeOf(fetchJson(url, options({ fetch: (...args) => fetch(...args) })))).to.match(untrusted);
    // node:https with an authority, as a function like fetch.
    const trusting: FetchFunction = (address, { headers, signal }) =>
      new Promise((resolve, reject) => {
        get(address, { ca, headers, signal }, (res) => resolve({ status: res.statusCode ?? 0, body: res })).on(
          "error",
          reject,
        );
      });
    expect(await fetchJson(url, options({ fetch: trusting }))).to.deep.equal(JSON.parse(document));
  });
});

describe("remoteKeys.fetch", () => {
  const asks: { url: string; redirect: string; accept: string | undefined }[] = [];
  const own: FetchFunction = (url, init) => {
    asks.push({ url, redirect: init.redirect, accept: init.headers.accept });
    return fetch(url, { ...init, headers: { ...init.headers, authorization: "Bearer cluster" } });
  };
  beforeEach(() => asks.splice(0));

  it("fetches metadata and key set, with the type of key sets and without redirects", async () => {
    const issuer = await startServer((req, res) => {
      if (req.headers.authorization !== "Bearer cluster") return void res.writeHead(401).end();
      const metadata = { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` };
      res.end(req.url === "/keys" ? document : JSON.stringify(metadata));
    });
    const gate = openGate({ auth: { issuer: issuer.url, audience: false, remoteKeys: { fetch: own } } });
    await admit(gate, tokenOf(issuer.url));
    expect(asks.map(({ url }) => url)).to.deep.equal([
      `${issuer.url}/.well-known/openid-configuration`,
      `${issuer.url}/keys`,
    ]);
    for (const { redirect, accept } of asks) {
      expect(redirect).to.equal("error");
      expect(accept).to.include("application/jwk-set+json");
    }
  });

  const wrong: Readonly<Record<string, [FetchFunction, RegExp]>> = {
    "throws at once": [
      () => {
        throw new Error("secret");
      },
      /the request failed$/,
    ],
    rejects: [() => Promise.reject(new TypeError("fetch failed", { cause: { code: "X" } })), /the request failed$/],
    "rejects with a code in a cause": [
      () =>
        Promise.reject(new TypeError("fetch failed", { cause: Object.assign(new Error("x"), { code: "ETIMEDOUT" }) })),
      /the request failed: ETIMEDOUT$/,
    ],
    "never answers": [() => new Promise(() => undefined), /no complete answer within 50 ms$/],
    "followed a redirect": [
      () => Promise.resolve({ status: 200, redirected: true, body: new Response(document).body }),
      /redirect/,
    ],
    "answers with a failure": [() => Promise.resolve(new Response("x", { status: 502 })), /status 502$/],
    "answers without a body": [() => Promise.resolve({ status: 200, body: null }), /no body/],
    "answers without end": [
      () => {
        const body = new ReadableStream({ pull: (controller) => controller.enqueue(Buffer.alloc(65_536, 0x20)) });
        return Promise.resolve(new Response(body));
      },
      /longer than/,
    ],
    "answers nonsense": [() => Promise.resolve(undefined as never), /the request failed$/],
  };
  for (const [name, [fetchKeys, reason]] of Object.entries(wrong)) {
    it(`that ${name} is an outage of the issuer, with a reason and without its text`, async () => {
      const warnings: { reason: string }[] = [];
      const logger = { debug: () => undefined, warn: (fields: object) => void warnings.push(fields as never) };
      const remoteKeys = { fetch: fetchKeys, timeout: 50 };
      const gate = openGate({ logger, auth: { jwksUri: "https://1.1.1.1/keys", audience: false, remoteKeys } });
      const { problem } = await refuse(gate, tokenOf("https://a.test"));
      expect(problem.code).to.equal("keys_unavailable");
      await until(() => warnings.length > 0);
      expect(warnings[0]?.reason)
        .to.match(/^1\.1\.1\.1: /)
        .and.to.match(reason);
      expect(JSON.stringify(warnings)).not.to.include("secret");
    });
  }

  it("is not called for an address of a private network, nor for tenants on this machine", async () => {
    const calls: string[] = [];
    const spy: FetchFunction = (url) => {
      calls.push(url);
      return Promise.resolve(new Response(document));
    };
    const resolve = ((_name: string, _options: object, done: (error: null, all: object[]) => void) =>
      done(null, [{ address: "10.0.0.7", family: 4 }])) as never;
    expect(await causeOf(fetchJson("https://inner.example.com/", options({ fetch: spy, resolve })))).to.match(
      /private address/,
    );
    const gate = openGate({ auth: { issuer: () => true, audience: false, remoteKeys: { fetch: spy } } });
    for (const iss of [
      "https://127.0.0.1/a",
      "https://10.1.1.1/",
      "http://localhost/",
      "https://localhost/",
      ...["https://localhost./", "https://a.localhost/"],
    ])
      expect((await refuse(gate, tokenOf(iss))).problem.code).to.equal("token_invalid");
    expect(calls).to.deep.equal([]);
  });

  it("is not called for a name that has one private address among its addresses, since it may use any", async () => {
    let calls = 0;
    const spy: FetchFunction = () => {
      calls += 1;
      return Promise.resolve(new Response(document));
    };
    const named = (...all: string[]): FetchOptions["resolve"] =>
      ((_name: string, _options: object, done: (error: null, found: object[]) => void) =>
        done(
          null,
          all.map((address) => ({ address, family: 4 })),
        )) as never;
    const mixed = named("93.184.216.34", "169.254.169.254");
    expect(await causeOf(fetchJson("https://both.example.com/", options({ fetch: spy, resolve: mixed })))).to.match(
      /^both\.example\.com: the host has a private address/,
    );
    expect(calls).to.equal(0);
    await fetchJson("https://both.example.com/", options({ fetch: spy, resolve: named("93.184.216.34", "1.1.1.1") }));
    expect(calls).to.equal(1);
  });

  it("is bounded by the timeout also while its host is looked up", async () => {
    const abort = new AbortController();
    const resolve = (() => abort.abort(new Error("late"))) as never;
    const asked = options({ resolve, signal: abort.signal, fetch: () => Promise.resolve(new Response(document)) });
    expect(await causeOf(fetchJson("https://slow.example.com/", asked))).to.match(/^slow\.example\.com: /);
  });

  it("is called for a name that only its proxy can resolve", async () => {
    const resolve = ((_name: string, _options: object, done: (error: Error) => void) =>
      done(Object.assign(new Error("no"), { code: "ENOTFOUND" }))) as never;
    const answered = await fetchJson(
      "https://outside.example.com/",
      options({ resolve, fetch: () => Promise.resolve(new Response(document)) }),
    );
    expect(answered).to.deep.equal(JSON.parse(document));
  });
});

describe("a function jwks", () => {
  it("gives the keys, and is called again as a key set would be fetched", async () => {
    const kids = ["one"];
    let calls = 0;
    const jwks = async (): Promise<never> => {
      calls += 1;
      await pause(1);
      return { keys: kids.map((kid) => jwkOf(rsa, kid)) } as never;
    };
    const gate = openGate({
      auth: { jwks, issuer: "https://a.test", audience: false, remoteKeys: { cooldown: "1s" } },
    });
    await Promise.all(Array.from({ length: 20 }, () => admit(gate, tokenOf("https://a.test"))));
    expect(calls).to.equal(1);
    kids.push("two");
    await admit(gate, tokenOf("https://a.test", "two"));
    expect(calls).to.equal(2);
    expect((await refuse(gate, tokenOf("https://a.test", "three"))).problem.code).to.equal("token_invalid");
    expect(calls).to.equal(2);
  });

  const wrong: Readonly<Record<string, () => unknown>> = {
    "that throws": () => {
      throw new Error("no such file");
    },
    "that rejects": () => Promise.reject(new Error("no such file")),
    "that never returns": () => new Promise(() => undefined),
    "that returns undefined": () => undefined,
    "that returns a list": () => [],
    "that returns an empty set": () => ({ keys: [] }),
  };
  for (const [name, jwks] of Object.entries(wrong)) {
    it(`${name} is an outage (503), and the log says why`, async () => {
      const said: object[] = [];
      const logger = { debug: () => undefined, warn: (fields: object) => void said.push(fields) };
      const auth = { jwks: jwks as never, audience: false, remoteKeys: { timeout: 20 } } as const;
      const gate = openGate({ logger, auth });
      expect((await refuse(gate, tokenOf("https://a.test"))).problem.code).to.equal("keys_unavailable");
      await until(() => said.length > 0);
      expect(said[0]).to.have.property("reason");
      if (name === "that throws") expect((said[0] as { err?: Error }).err?.message).to.equal("no such file");
    });
  }
});

describe("remoteKeys.allowHttp", () => {
  it("takes plain http for the hosts that it names, and says at the start how to name one", () => {
    const jwksUri = "http://keycloak:8080/realms/shop/protocol/openid-connect/certs";
    const auth = { jwksUri, audience: false } as const;
    expect(() => openGate({ auth })).to.throw(/allowHttp: \["keycloak:8080"\]/);
    expect(() => openGate({ auth: { ...auth, remoteKeys: { allowHttp: ["keycloak"] } } })).to.throw(/allowHttp/);
    openGate({ auth: { ...auth, remoteKeys: { allowHttp: ["keycloak:8080"] } } });
    openGate({ auth: { ...auth, jwksUri: "http://10.0.0.5/jwks", remoteKeys: { allowHttp: ["10.0.0.5:80"] } } });
    for (const wrong of ["http://keycloak:8080", "keycloak:8080/realms", "*", "", "a b", "user@keycloak"])
      expect(() => openGate({ auth: { ...auth, remoteKeys: { allowHttp: [wrong] } } }), wrong).to.throw(/allowHttp/);
  });

  it("reaches a private address under such a name, and only under it", async () => {
    const issuer = await FakeIssuer.start();
    cleanUpInTest(() => issuer.close());
    issuer.answer = keySet("one");
    const { port } = new URL(issuer.server.url);
    const resolve = ((_name: string, _options: object, done: (error: null, all: object[]) => void) =>
      done(null, [{ address: "127.0.0.1", family: 4 }])) as never;
    const allowHttp = [`keycloak:${port}`];
    await fetchJson(`http://keycloak:${port}/jwks`, options({ resolve, allowHttp }));
    expect(await causeOf(fetchJson(`http://other:${port}/jwks`, options({ resolve, allowHttp })))).to.match(/private/);
    expect(await causeOf(fetchJson(`https://keycloak:${port}/`, options({ resolve, allowHttp })))).to.match(/private/);
    expect(await outcome(issuer.open())).to.equal("found");
  });

  it("is a finding of the examination", async () => {
    const jwksUri = "http://keycloak:8080/certs";
    const gate = openGate({ auth: { jwksUri, audience: false, remoteKeys: { allowHttp: ["keycloak:8080"] } } });
    expect((await gate.examine()).map(({ code }) => code)).to.include("keys_over_http");
  });
});
