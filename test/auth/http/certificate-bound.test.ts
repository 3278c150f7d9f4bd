import { createHash, X509Certificate } from "node:crypto";
import { createServer, request } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createSecureServer } from "node:http2";
import { once } from "node:events";
import { makeCertificates, signToken, testAuth } from "@portcullis/testkit";
import { portcullis as expressGate } from "@portcullis/express";
import { portcullis as koaGate } from "@portcullis/koa";
import { expect } from "chai";
import { rejectionOf } from "../../support/rejection.js";
import express from "express";
import Koa from "koa";
import type { CertificateSource, ClientCertificate, PortcullisOptions } from "../../../packages/core/src/index.js";
import { cleanUpInTest } from "../../support/clean-up.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { silentLogger } from "../../support/logger.js";

const { ca, server: serverIdentity, client } = makeCertificates();
/** Another certificate of the same authority. */
const stranger = serverIdentity;

function thumbprint(pem: string): string {
  return createHash("sha256").update(new X509Certificate(pem).raw).digest("base64url");
}

function bound(pem = client.cert, claims: object = {}): Promise<string> {
  return signToken({ cnf: { "x5t#S256": thumbprint(pem) }, ...claims });
}

const auth = { ...testAuth, certificateBound: { from: "socket" } } as const;
const options = { redis: "memory", logger: silentLogger, auth } as const;

type Listener = (req: IncomingMessage, res: ServerResponse) => void;

/** Applications behind TLS of their own, which asks for certificates and refuses none. */
const applications: Readonly<Record<string, () => { handle: Listener; close: () => Promise<void> }>> = {
  Express() {
    const gate = expressGate(options);
    const app = express().use(gate.guard());
    app.get("/", (_req, res) => void res.json({}));
    return { handle: app, close: () => gate.close() };
  },
  Koa() {
    const gate = koaGate(options);
    const app = new Koa().use(gate.guard()).use((ctx) => void (ctx.body = {}));
    const handle = app.callback();
    return { handle: (req, res) => void handle(req, res), close: () => gate.close() };
  },
  "verify() of a message"() {
    const gate = expressGate(options);
    const handle: Listener = (req, res) =>
      void gate.verify(req).then(({ allowed }) => res.writeHead(allowed ? 200 : 401).end());
    return { handle, close: () => gate.close() };
  },
};

async function listen(handle: Listener): Promise<number> {
  const tls = { ...serverIdentity, requestCert: true, rejectUnauthorized: false };
  const server = createServer(tls, handle).listen(0, "127.0.0.1");
  cleanUpInTest(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function statusOf(port: number, token: string, identity?: { key: string; cert: string }): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` };
    request({ host: "localhost", port, ca, ...identity, headers, agent: false }, (res) => {
      res.resume();
      resolve(res.statusCode);
    })
      .on("error", reject)
      .end();
  });
}

describe("a token that is bound to a client certificate", () => {
  for (const [name, start] of Object.entries(applications)) {
    it(`passes with that certificate on the TLS connection alone, on ${name}`, async () => {
      const { handle, close } = start();
      cleanUpInTest(close);
      const port = await listen(handle);
      const token = await bound();
      expect(await statusOf(port, token, client)).to.equal(200);
      expect(await statusOf(port, token, stranger)).to.equal(401);
      expect(await statusOf(port, token)).to.equal(401);
      // A certificate that no known authority has signed still proves its key (RFC 8705 2.2).
      expect(await statusOf(port, await bound(stranger.cert), stranger)).to.equal(200);
      expect(await statusOf(port, await signToken(), client)).to.equal(200);
    });
  }

  it("passes over HTTP/2 too", async () => {
    const gate = koaGate(options);
    cleanUpInTest(() => gate.close());
    const seen: boolean[] = [];
    const server = createSecureServer(
      { ...serverIdentity, ca, requestCert: true, rejectUnauthorized: false, allowHTTP1: true },
      (req, res) =>
        void gate.verify(req as unknown as IncomingMessage).then(({ allowed }) => {
          seen.push(allowed);
          res.end();
        }),
    ).listen(0, "127.0.0.1");
    cleanUpInTest(() => void server.close());
    await once(server, "listening");
    const { connect } = await import("node:http2");
    const session = connect(`https://localhost:${(server.address() as AddressInfo).port}`, { ca, ...client });
    for (const token of [await bound(), await bound(stranger.cert)]) {
      const stream = session.request({ authorization: `Bearer ${token}` });
      stream.resume();
      await once(stream, "end");
    }
    session.close();
    expect(seen).to.deep.equal([true, false]);
  });

  const der = new X509Certificate(client.cert).raw;
  const forms: Readonly<Record<string, string>> = {
    "URL-encoded PEM (nginx, AWS ALB)": encodeURIComponent(client.cert),
    "PEM with tabs for its line ends": client.cert.trim().replaceAll("\n", "\t"),
    "base64 of DER (Azure App Service, HAProxy, Traefik)": der.toString("base64"),
    "the form of RFC 9440": `:${der.toString("base64")}:`,
    "a chain of PEM, the client first": encodeURIComponent(client.cert + ca),
  };
  const inHeader: PortcullisOptions<undefined> = {
    auth: { ...testAuth, certificateBound: { from: { header: "X-Client-Cert" } } },
  };

  async function outcome(from: CertificateSource<undefined>, value?: string): Promise<string> {
    const gate = openGate({ auth: { ...testAuth, certificateBound: { from } } });
    const headers = {
      authorization: `Bearer ${await bound()}`,
      ...(value === undefined ? {} : { "x-client-cert": value }),
    };
    const verdict = await gate.guard().check(fakeExchange({ headers }));
    return verdict.allowed ? "allowed" : verdict.cause;
  }

  for (const [name, value] of Object.entries(forms)) {
    it(`passes with ${name} in the header that the application names`, async () => {
      expect(await outcome({ header: "X-Client-Cert" }, value)).to.equal("allowed");
    });
  }

  it("does not pass with another certificate in that header, with none, with two, or with nonsense", async () => {
    const from = { header: "X-Client-Cert" };
    expect(await outcome(from)).to.equal("the request has no client certificate");
    const other = "the token is bound to another client certificate";
    const wrong = [
      ...[
        encodeURIComponent(stranger.cert),
        encodeURIComponent(ca + client.cert),
        "",
        "%",
        "%E0%A4%A",
        "null",
        "(null)",
      ],
      ...[`${der.toString("base64")}, ${der.toString("base64")}`, "x".repeat(20_000), thumbprint(client.cert)],
    ];
    for (const value of wrong) expect(await outcome(from, value), value.slice(0, 20)).to.equal(other);
  });

  it("passes with the certificate that a function of the request returns, in any form", async () => {
    const given: readonly ClientCertificate[] = [client.cert, der, new X509Certificate(client.cert), { raw: der }];
    for (const certificate of given) expect(await outcome(() => certificate)).to.equal("allowed");
    expect(await outcome(() => undefined)).to.equal("the request has no client certificate");
    expect(await outcome(() => new Uint8Array(0))).to.equal("the token is bound to another client certificate");
  });

  it("does not pass with two lines of that header, of which a client may have written the first", async () => {
    const gate = openGate(inHeader);
    const lines = [client.cert, stranger.cert].map((pem) => encodeURIComponent(pem));
    for (const [first = "", last = ""] of [lines, lines.toReversed()]) {
      const rawHeaders = ["X-Client-Cert", first, "Authorization", "", "x-client-cert", last];
      const headers = { authorization: `Bearer ${await bound()}`, "x-client-cert": `${first}, ${last}` };
      expect((await gate.guard().check(fakeExchange({ headers, rawHeaders }))).allowed).to.equal(false);
    }
  });

  it("is refused where the function returns nothing that is a certificate, and says so for a promise", async () => {
    expect(await outcome((() => null) as never)).to.equal("the request has no client certificate");
    for (const wrong of [5, {}, [der], { raw: 5 }, { raw: "x" }, true])
      expect(await outcome((() => wrong) as never)).to.equal("the token is bound to another client certificate");
    let unhandled = 0;
    const count = (): void => void (unhandled += 1);
    process.on("unhandledRejection", count);
    cleanUpInTest(() => void process.off("unhandledRejection", count));
    const late = rejectionOf(outcome((() => Promise.reject(new Error("down"))) as never));
    expect(String(await late)).to.match(/certificateBound\.from must return .* at once, not a promise/);
    await new Promise(setImmediate);
    expect(unhandled).to.equal(0);
  });

  it("never passes alone, without a request", async () => {
    const gate = openGate(inHeader);
    expect((await gate.verify(await bound())).allowed).to.equal(false);
    expect((await gate.verify(await signToken())).allowed).to.equal(true);
  });

  it("is demanded by required, and is left to the proxy in front by true", async () => {
    const check = async (
      certificateBound: NonNullable<PortcullisOptions["auth"]>["certificateBound"],
      token: string,
    ) => {
      const gate = openGate({ auth: { ...testAuth, certificateBound } });
      const verdict = await gate.guard().check(fakeExchange({ headers: { authorization: `Bearer ${token}` } }));
      return verdict.allowed ? "allowed" : verdict.cause;
    };
    const required = { from: "socket", required: true } as const;
    const unbound = "the token is not bound to a certificate, which auth.certificateBound.required requires";
    expect(await check(required, await signToken())).to.equal(unbound);
    expect(await check(required, await bound())).to.equal("the request has no client certificate");
    expect(await check(true, await bound())).to.equal("allowed");
    expect(await check(false, await bound())).to.match(/cnf demands a proof/);
  });

  it("needs a place of the certificate that makes sense", () => {
    const open = (certificateBound: unknown) => () => openGate({ auth: { ...testAuth, certificateBound } as never });
    expect(open({})).to.throw(/certificateBound\.from must be "socket"/);
    expect(open({ from: "header" })).to.throw(/certificateBound\.from must be "socket"/);
    expect(open({ from: {} })).to.throw(/certificateBound\.from\.header/);
    expect(open({ from: "socket", required: 1 })).to.throw(/certificateBound\.required/);
    expect(open("socket")).to.throw(/certificateBound must be true or false/);
  });
});
