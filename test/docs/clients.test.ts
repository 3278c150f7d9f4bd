import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/express";
import type { Channel, ExpressGate } from "@portcullis/express";
import { signToken, testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { EventSource } from "eventsource";
import express from "express";
import { calculateJwkThumbprint, decodeProtectedHeader } from "jose";
import { cleanUp } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { until } from "../support/until.js";
import { sectionOf } from "./documents.js";
import type { Programs } from "./programs.js";
import { openPrograms } from "./programs.js";

interface Tokens {
  readonly accessToken: string;
  readonly refreshToken: string;
}

type Api = (path: string, init?: RequestInit) => Promise<Response>;
interface Store {
  tokens: Tokens | undefined;
}

interface ApiProgram {
  readonly createApi: (options: { base: string; store: Store; onSignedOut: () => void }) => Api;
}

interface LimitsProgram {
  readonly quotasOf: (headers: Headers) => { policy: string; remaining: number; resetSeconds: number }[];
}

interface OrdersProgram {
  readonly newKey: () => string;
  readonly placeOrder: (api: Api, key: string, order: { item: string }) => Promise<{ id: string }>;
}

type Prover = (method: string, url: string, token?: string, nonce?: string) => Promise<string>;
interface ProofProgram {
  readonly createProver: () => Promise<Prover>;
  readonly sendBound: (prove: Prover, url: string, token: string, nonces: { current?: string }) => Promise<Response>;
}

interface StreamProgram {
  readonly listen: (options: {
    open: (lastEventId: string) => EventSource;
    api: Api;
    onEvent: (data: unknown) => void;
    onGap: () => void;
    firstWaitMs: number;
  }) => () => void;
}

/** A service that clients of docs/clients.md talk to, on Redis. */
interface Service {
  readonly base: string;
  readonly gate: ExpressGate;
  readonly news: Channel<unknown>;
  /** Requests by path, as they came. */
  readonly seen: string[];
  readonly orders: string[];
}

describe("the code in docs/clients.md", function () {
  this.timeout(30_000);
  let programs: Programs;

  before(async () => {
    programs = await openPrograms("docs/clients.md", {
      "api.ts": "export function createApi(",
      "limits.ts": "export function quotasOf(",
      "orders.ts": "export async function placeOrder(",
      "proof.ts": "export async function createProver(",
      "stream.ts": "export function listen(",
    });
  });
  after(() => programs.remove());

  it("stands below a table of what a client does, which has every code", () => {
    const codes = [...sectionOf("docs/reference.md", "Answers to requests").matchAll(/\(errors\.md#([a-z_]+)\)/g)];
    expect(codes).to.have.length.greaterThan(30);
    const table = sectionOf("docs/clients.md", "What an answer means");
    expect(codes.map(([, code = ""]) => code).filter((code) => !table.includes(`\`${code}\``))).to.deep.equal([]);
  });

  async function startService(): Promise<Service> {
    const gate = portcullis({
      ...{ redis: testRedisUrl(), prefix: freshPrefix(), deadline: 1000, logger: silentLogger, service: "clients" },
      tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience },
    });
    const news = gate.channels.define("news", { schema: (value) => value, reliable: true });
    const [seen, orders]: [string[], string[]] = [[], []];
    const app = express();
    app.set("env", "test");
    app.use((req, _res, next) => {
      seen.push(req.path);
      next();
    });
    app.post("/refresh", express.json(), async (req, res, next) => {
      try {
        res.json((await gate.tokens.refresh((req.body as { refresh_token?: string }).refresh_token)).response);
      } catch (error) {
        const answer = gate.tokens.answer(error);
        if (answer === undefined) return next(error);
        res.status(answer.status).set(answer.headers).json(answer.body);
      }
    });
    app.use(gate.guard());
    app.get("/me", (req, res) => res.json({ subject: req.auth?.subject }));
    app.get("/rare", gate.limit({ name: "rare", per: "user", limit: 1, window: "1s" }), (_req, res) => res.json({}));
    app.post("/orders", gate.idempotency(), express.json(), (req, res) => {
      orders.push((req.body as { item: string }).item);
      res.status(201).json({ id: `${orders.length}` });
    });
    app.get("/events", gate.events({ channel: news, topics: ({ auth }) => [auth.subject], retry: "100ms" }));
    return { base: await listenOn(createServer(app), gate), gate, news, seen, orders };
  }

  async function signIn({ gate }: Service): Promise<Store> {
    const { accessToken, refreshToken } = await gate.tokens.issue({ subject: "alice" });
    return { tokens: { accessToken, refreshToken } };
  }

  async function createApi(service: Service, store: Store): Promise<{ api: Api; signedOut: () => number }> {
    let count = 0;
    const program = await programs.load<ApiProgram>("api.ts");
    const onSignedOut = (): void => void (count += 1);
    return { api: program.createApi({ base: service.base, store, onSignedOut }), signedOut: () => count };
  }

  /** Revokes the access token of the client, as its expiry would end it. */
  async function endAccess({ gate }: Service, store: Store): Promise<void> {
    const verified = await gate.verify(store.tokens?.accessToken);
    if (!verified.allowed) throw new Error("the token is refused already");
    await gate.revocations.revoke(verified.auth);
  }

  it("refreshes once for all requests whose token was refused, and repeats each of them", async () => {
    const service = await startService();
    const store = await signIn(service);
    const { api, signedOut } = await createApi(service, store);
    expect((await api("/me")).status).to.equal(200);
    await endAccess(service, store);
    const answers = await Promise.all(Array.from({ length: 8 }, () => api("/me")));
    expect(answers.map(({ status }) => status)).to.deep.equal(Array(8).fill(200));
    expect(service.seen.filter((path) => path === "/refresh")).to.have.length(1);
    expect(signedOut()).to.equal(0);
  });

  it("signs the user out once, when the session is over, and by no other answer", async () => {
    const service = await startService();
    const store = await signIn(service);
    const { api, signedOut } = await createApi(service, store);
    await service.gate.sessions.revokeAll("alice");
    const outcomes = await Promise.allSettled([api("/me"), api("/me"), api("/me")]);
    const errors = outcomes.map((outcome) => (outcome.status === "rejected" ? (outcome.reason as object) : {}));
    for (const error of errors) expect(error).to.include({ status: 401 });
    expect(errors[0]).to.include({ code: "invalid_grant" });
    expect(signedOut()).to.equal(1);
    expect(store.tokens).to.equal(undefined);
  });

  it("waits for Retry-After while Redis is down, and keeps its tokens", async () => {
    const service = await startService();
    const store = await signIn(service);
    const { api, signedOut } = await createApi(service, store);
    await api("/me");
    const breakers = service.gate.breakers;
    for (const breaker of breakers) breaker.open();
    const answer = api("/me");
    await until(() => service.seen.filter((path) => path === "/me").length === 2);
    for (const breaker of breakers) breaker.close();
    expect((await answer).status).to.equal(200);
    expect(service.seen.filter((path) => path === "/refresh")).to.have.length(0);
    expect(signedOut()).to.equal(0);
  });

  it("reads how much of each limit is left, and waits when nothing is", async () => {
    const service = await startService();
    const { api } = await createApi(service, await signIn(service));
    const { quotasOf } = await programs.load<LimitsProgram>("limits.ts");
    const answers = await Promise.all([api("/rare"), api("/rare")]);
    for (const { status, headers } of answers) {
      expect(status).to.equal(200);
      expect(quotasOf(headers)).to.deep.equal([{ policy: "rare", remaining: 0, resetSeconds: 1 }]);
    }
    expect(service.seen.filter((path) => path === "/rare").length).to.be.at.least(3);
    const field = new Headers({ ratelimit: '"ip";r=12;t=31, "user";r=4000;t=1800, "slots";r=2' });
    expect(quotasOf(field)).to.deep.equal([
      { policy: "ip", remaining: 12, resetSeconds: 31 },
      { policy: "user", remaining: 4000, resetSeconds: 1800 },
      { policy: "slots", remaining: 2, resetSeconds: 0 },
    ]);
  });

  it("places an order once, although its answer was lost", async () => {
    const service = await startService();
    const { api } = await createApi(service, await signIn(service));
    const { newKey, placeOrder } = await programs.load<OrdersProgram>("orders.ts");
    const key = newKey();
    const losesAnswers: Api = async (...args) => {
      await api(...args);
      throw new TypeError("the connection broke");
    };
    let failure: unknown;
    await placeOrder(losesAnswers, key, { item: "rope" }).catch((error: unknown) => (failure = error));
    expect(failure).to.be.instanceOf(TypeError);
    expect(await placeOrder(api, key, { item: "rope" })).to.deep.equal({ id: "1" });
    expect(await placeOrder(api, newKey(), { item: "lamp" })).to.deep.equal({ id: "2" });
    expect(service.orders).to.deep.equal(["rope", "lamp"]);
  });

  it("proves the possession of its key, with the nonce of the service", async () => {
    const { createProver, sendBound } = await programs.load<ProofProgram>("proof.ts");
    const publicUrl = "https://api.example.com";
    const gate = portcullis({
      ...{ redis: "memory", publicUrl, keySecret: "k".repeat(32), logger: silentLogger },
      auth: { ...testAuth, algorithms: ["HS256"], dpop: { required: true, nonce: true } },
    });
    const app = express();
    const urls: string[] = [];
    app.use((req, _res, next) => {
      urls.push(req.url);
      next();
    });
    app.use(gate.guard());
    app.get("/me", (_req, res) => res.json({}));
    const base = await listenOn(createServer(app), gate);
    const prove = await createProver();
    const { jwk } = decodeProtectedHeader(await prove("GET", `${publicUrl}/me`));
    const token = await signToken({ cnf: { jkt: await calculateJwkThumbprint(jwk ?? { kty: "EC" }) } });
    const nonces = {};
    // The proof is for the public URL of the service; the test reaches it at another one, as a proxy does.
    const proveAs: Prover = (method, url, ...rest) => prove(method, url.replace(base, publicUrl), ...rest);
    expect((await sendBound(proveAs, `${base}/me?a=1`, token, nonces)).status).to.equal(200);
    expect((await sendBound(proveAs, `${base}/me?b=2`, token, nonces)).status).to.equal(200);
    expect(urls, "a nonce is asked for once").to.deep.equal(["/me?a=1", "/me?a=1", "/me?b=2"]);
  });

  it("listens again with a new token after the last event, and stops when the session is over", async () => {
    const service = await startService();
    const store = await signIn(service);
    const { api, signedOut } = await createApi(service, store);
    const { listen } = await programs.load<StreamProgram>("stream.ts");
    const heard: unknown[] = [];
    let opened = 0;
    const stop = listen({
      api,
      open(lastEventId) {
        const stream = new EventSource(`${service.base}/events?lastEventId=${encodeURIComponent(lastEventId)}`, {
          fetch: (url, init) =>
            fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${store.tokens?.accessToken}` } }),
        });
        stream.addEventListener("open", () => (opened += 1));
        return stream;
      },
      onEvent: (data) => heard.push(data),
      onGap: () => heard.push("gap"),
      firstWaitMs: 10,
    });
    cleanUp(stop);
    await until(() => opened === 1);
    await service.news.publish(1, { topic: "alice" });
    await until(() => heard.length === 1);
    await endAccess(service, store);
    await until(() => service.gate.connections.open === 0);
    await service.news.publish(2, { topic: "alice" });
    await until(() => heard.length === 2);
    expect(heard).to.deep.equal([1, 2]);
    await service.gate.sessions.revokeAll("alice");
    await until(() => signedOut() === 1);
    expect(store.tokens).to.equal(undefined);
  });
});

async function listenOn(server: Server, gate: ExpressGate): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await gate.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
