import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { expect } from "chai";
import { createDpopClient, nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { goodTokens, hostileGates } from "../support/hostile-gates.js";
import type { GateName, HostileToken } from "../support/hostile.js";
import { hostileTokens } from "../support/hostile.js";
import { startServer } from "../../support/local-server.js";
import type { LocalServer } from "../../support/local-server.js";
import type { AnyOptions, RunningApp } from "../../support/app.js";
import { allAdapters } from "../../support/app.js";
import { send } from "../../support/http.js";
import { exchangeRaw, statusOf } from "../../support/raw.js";
import { silentLogger } from "../../support/logger.js";

const corpus: readonly HostileToken[] = Object.values(hostileTokens).flat();

/** What an HTTP client can put into a header field at all; the rest cannot arrive. */
const sendable = /^[\x20-\x7e]*$/;

for (const adapter of allAdapters) {
  describe(`attacks over HTTP, on ${adapter.name}`, function () {
    this.timeout(60_000);
    const apps = new Map<GateName, RunningApp>();
    let trap: LocalServer;
    /** Ports that this process has connected to. */
    const reached = new Set<number>();
    const noteSocket = (message: unknown): void => {
      const { socket } = message as { socket: Socket };
      socket.once("connect", () => reached.add(socket.remotePort ?? 0));
    };

    before(async () => {
      trap = await startServer((_req, res) => res.end('{"keys":[]}'));
      for (const [name, auth] of Object.entries(hostileGates)) {
        const app = await adapter.start({
          options: { redis: "memory", auth: auth as unknown as NonNullable<AnyOptions["auth"]>, logger: silentLogger },
          routes: {
            "GET /me": (request) => ({ subject: request.auth?.subject, admin: "admin" in (request.auth ?? {}) }),
          },
        });
        apps.set(name as GateName, app);
      }
      subscribe("net.client.socket", noteSocket);
    });

    after(async () => {
      unsubscribe("net.client.socket", noteSocket);
      for (const app of apps.values()) await app.close();
      await trap.close();
    });

    it("refuse every token of the corpus with the same bytes, and reach no other address", async () => {
      const answers = new Set<string>();
      let sent = 0;
      for (const { name, gate, make } of corpus) {
        const token = make(trap.url);
        if (!sendable.test(token)) continue;
        sent += 1;
        const { status, headers, text } = await send(`${apps.get(gate)!.url}/me`, { token });
        expect(status, name).to.equal(401);
        const { "www-authenticate": challenge, "content-type": type, "cache-control": caching } = headers;
        answers.add(JSON.stringify([challenge, type, caching, text]));
      }
      expect(sent).to.be.at.least(300);
      expect([...answers]).to.have.length(1);
      const ports = new Set([...apps.values()].map(({ url }) => Number(new URL(url).port)));
      // Our own requests are seen, so that one of the gate's would be.
      expect([...ports].filter((port) => !reached.has(port))).to.deep.equal([]);
      expect([...reached].filter((port) => !ports.has(port))).to.deep.equal([]);
      expect(trap.connections).to.equal(0);
    });

    it("leave the gates and the process as they were", async () => {
      for (const [name, { url }] of apps) {
        const { status, json } = await send(`${url}/me`, { token: goodTokens[name]() });
        expect([name, status, json]).to.deep.equal([name, 200, { subject: "alice", admin: false }]);
      }
      expect(Object.keys(Object.prototype)).to.deep.equal([]);
      expect(({} as { admin?: unknown }).admin).to.equal(undefined);
    });

    it("of the header itself are refused, or are no credentials, and never an error", async () => {
      const { url } = apps.get("secret")!;
      const token = goodTokens.secret();
      const forms: readonly (readonly [field: string, status: number, code: string | undefined])[] = [
        [`Bearer ${token}`, 200, undefined],
        [`bEARER   ${token}  `, 200, undefined],
        [`Bearer ${token} ${token}`, 401, "token_invalid"],
        [`Bearer ${token}, Bearer ${token}`, 401, "token_invalid"],
        [`Bearer ${token},`, 401, "token_invalid"],
        [`Bearer "${token}"`, 401, "token_invalid"],
        ["Bearer", 401, "token_invalid"],
        ["Bearer null", 401, "token_invalid"],
        ["Bearer [object Object]", 401, "token_invalid"],
        ["Bearer __proto__", 401, "token_invalid"],
        [`Bearer ${"x".repeat(9000)}`, 401, "token_too_large"],
        [`Bearer ${"a.".repeat(4000)}b`, 401, "token_invalid"],
        [`n1 Bearer ${token}`, 401, "credentials_required"],
        [`Basic ${Buffer.from("a:b").toString("base64")}`, 401, "credentials_required"],
        ["__proto__ x", 401, "credentials_required"],
        ["constructor x", 401, "credentials_required"],
        [`DPoP ${token}`, 401, "token_invalid"],
        ["", 401, "credentials_required"],
      ];
      for (const [authorization, status, code] of forms) {
        const answer = await send(`${url}/me`, { headers: { authorization } });
        const found = (answer.json as { code?: string } | undefined)?.code;
        expect([answer.status, found], authorization.slice(0, 60)).to.deep.equal([status, code]);
      }
    });

    it("by raw bytes and oversized fields are answered by HTTP, and the server goes on", async () => {
      const { url } = apps.get("secret")!;
      const requests = [
        `GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\u0000b.c.d\r\n\r\n`,
        `GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${"x".repeat(20_000)}\r\n\r\n`,
        `GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a.b.c\r\nAuthorization: Bearer d.e.f\r\nConnection: close\r\n\r\n`,
        `GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \u00ff\u00fe.b.c\r\nConnection: close\r\n\r\n`,
        `GET http://evil.example/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
        `GET /%00/../me?access_token=${goodTokens.secret()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      ];
      const statuses = [];
      for (const text of requests) statuses.push(statusOf(await exchangeRaw(url, text)));
      expect(statuses).to.deep.equal([400, 431, 400, 401, 401, 401]);
      expect((await send(`${url}/me`, { token: goodTokens.secret() })).status).to.equal(200);
    });
  });

  describe(`refusals on ${adapter.name}`, () => {
    it("have one body for each code, whatever the cause", async () => {
      const client = await createDpopClient();
      const app = await adapter.start({
        options: {
          redis: "memory",
          publicUrl: "https://api.example.com",
          auth: { ...testAuth, dpop: true, tokenFrom: ["header", { cookie: "t" }] },
          limits: [{ name: "ip", per: "ip", limit: 40, window: "1m" }],
        },
        use: (gate) => [
          gate.guard(),
          gate.when({ path: "/scoped" }, gate.requireScopes("a")),
          gate.when({ path: "/any" }, gate.requireAnyScope("b", "c")),
          gate.when({ path: "/role" }, gate.requireRole("admin")),
          gate.when({ path: "/claim" }, gate.requireClaim("plan", "pro")),
          gate.when({ path: "/recent" }, gate.requireRecentAuth({ maxAge: "1m" })),
          gate.when({ path: "/strong" }, gate.requireRecentAuth({ acr: "phr" })),
        ],
        routes: {},
      });
      const good = await signToken();
      const bound = await signToken({ cnf: { jkt: client.thumbprint } });
      const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
      const requests: (readonly [path: string, headers: Record<string, string>])[] = [
        ...[{}, { authorization: "Basic eA==" }].map((headers) => ["/", headers] as const),
        ...[
          "nonsense",
          await signToken({ exp: 1 }),
          await signToken({ aud: "other" }),
          await signToken({ nbf: nowSeconds() + 60 }),
          bound,
          `${good}x`,
        ].map((token) => ["/", bearer(token)] as const),
        ["/", bearer("x".repeat(9000))],
        ["/", { ...bearer(good), cookie: `t=${good}` }],
        ...[undefined, "nonsense", "a.b.c", await client.proof({ htm: "GET", htu: "https://api.example.com/" })].map(
          (dpop) => ["/", { authorization: `DPoP ${bound}`, ...(dpop === undefined ? {} : { dpop }) }] as const,
        ),
        ...["/scoped", "/any", "/role", "/claim", "/recent", "/strong"].map((path) => [path, bearer(good)] as const),
      ];
      const bodies = new Map<string, Set<string>>();
      const note = ({ json, text }: { json: unknown; text: string }): void => {
        const { code } = json as { code: string };
        bodies.set(code, (bodies.get(code) ?? new Set()).add(text));
      };
      for (const [path, headers] of requests) note(await send(`${app.url}${path}`, { headers }));
      for (const origin of ["https://evil.example", "null"])
        note(await send(app.url, { method: "POST", headers: { cookie: `t=${good}`, origin } }));
      for (let index = 0; index < 40; index += 1) await send(app.url);
      note(await send(app.url));
      note(await send(app.url, { token: good }));
      expect([...bodies.keys()].sort()).to.deep.equal([
        "authentication_stale",
        "claim_insufficient",
        "credentials_required",
        "dpop_proof_invalid",
        "origin_refused",
        "quota_exceeded",
        "request_invalid",
        "scope_insufficient",
        "token_invalid",
        "token_too_large",
      ]);
      for (const [code, texts] of bodies) expect([...texts], code).to.have.length(1);
      await app.close();
    });
  });
}
