import { createHmac } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { connect, createServer, constants } from "node:http2";
import { connect as connectSocket } from "node:net";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/koa";
import { nowSeconds, signToken, testAuth, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import Koa from "koa";
import Koa2 from "koa2";
import type { AnyGate, AnyOptions } from "../support/app.js";
import { cleanUp, cleanUpInTest } from "../support/clean-up.js";
import { describeOnEveryGate } from "../support/every-gate.js";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { exchangeRaw, statusOf } from "../support/raw.js";
import { until } from "../support/until.js";

/** Ends a line, moves the cursor, turns the direction of text, looks up a name in a careless logger. */
const evil = '\u001b[31m"seeded\\\r\nportcullis: forged\u202e\0\u2028${jndi:ldap://x}';
const nested = `${'{"a":'.repeat(900)}1${"}".repeat(900)}`;
const claims = { iss: testAuth.issuer, aud: testAuth.audience, sub: "seeded-subject", jti: "seeded-jti" };
const times = { iat: nowSeconds(), exp: nowSeconds() + 300 };

function tokenOf(header: unknown, payload: unknown = {}, secret = testSecret): string {
  const encode = (part: unknown): string =>
    Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
  const input = `${encode(header)}.${encode(payload)}`;
  return `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
}

/** A signed token with these claims, or with a claim whose value is this JSON text. */
function withClaims(changed: object, json?: string): string {
  const text = JSON.stringify({ ...claims, ...times, ...changed });
  return tokenOf({ alg: "HS256" }, json === undefined ? text : text.replace('"JSON"', json));
}

/** Whoever sends these has no key, and chooses each character of them. */
const unsigned = [
  ...[null, [], 5, '{"alg":"HS256","__proto__":{"typ":"JWT"}}', `{"alg":"HS256","x":${nested}}`],
  ...[{ toString: 1 }, ["HS256"], evil, "__proto__"].map((alg) => ({ alg })),
  ...[evil, "seeded".repeat(800), { seeded: 1 }].map((kid) => ({ alg: "HS256", kid })),
  ...[[evil], [{}], ["b64"], Array.from({ length: 300 }, (_, index) => `\${seeded-${index}}`)].map((crit) => ({
    ...{ alg: "HS256", crit },
  })),
].map((header) => tokenOf(header, { ...claims, ...times }, "another secret"));

const signed = [
  ...["null", "[1]", '"x"'].map((payload) => tokenOf({ alg: "HS256" }, payload)),
  ...["aud", "sub", "cnf", "jti", "sid", "iat"].flatMap((name) => [
    withClaims({ [name]: "JSON" }, nested),
    withClaims({ [name]: [evil] }),
    withClaims({ [name]: { [evil]: evil } }),
  ]),
  ...[withClaims({ iss: evil }), withClaims({ aud: evil.repeat(40) }), withClaims({ exp: "JSON" }, "1e999")],
  ...[withClaims({ nbf: 1e300 }), withClaims({ token_use: ["x", "refresh"] }), withClaims({ scope: evil })],
  withClaims({ "__proto__ ": 1, type: `${evil}+jwt` }),
  tokenOf({ alg: "HS256", typ: evil }, { ...claims, ...times }),
];

const fields = [
  `Authorization: Bearer \x85\x9b[31mseeded`,
  `Authorization: Bearer${" ".repeat(12_000)}seeded`,
  `Authorization: Bearer "${"x".repeat(7000)}`,
  "Authorization: __proto__ seeded",
  "Authorization: seeded",
  `Cookie: t=${"a.".repeat(3000)}`,
  `Cookie: ${Array.from({ length: 800 }, (_, index) => `t=seeded-${index}`).join("; ")}`,
  `Cookie: t=${withClaims({})}\r\nOrigin: https://\x9b\${jndi:seeded}${"x".repeat(4000)}\r\nSec-Fetch-Site: \${seeded}`,
];

/** The requests of a gate by outcome; zeros are left out. */
function outcomesOf(gate: Pick<AnyGate, "metrics">): Record<string, number> {
  const samples = gate.metrics().find(({ name }) => name === "portcullis_requests_total")?.samples ?? [];
  const counted = samples.filter(({ value }) => value > 0);
  return Object.fromEntries(counted.map(({ labels, value }): [string, number] => [String(labels.outcome), value]));
}

/** All lines and events from now on, without the values that the issuer has signed. */
function listen(): { readonly heard: string[]; readonly options: Partial<AnyOptions> } {
  const heard: string[] = [];
  const hear = (message: unknown): void => void heard.push(JSON.stringify(message));
  const print = Reflect.get<Console, "error">(console, "error");
  cleanUp(() => {
    console.error = print;
    unsubscribe("portcullis:denied", hear);
  });
  subscribe("portcullis:denied", hear);
  console.error = (line: string) => void heard.push(line);
  const logger = { debug: (...line: unknown[]) => hear(line), warn: (...line: unknown[]) => hear(line) };
  const auth = { ...testAuth, tokenFrom: ["header", { cookie: "t" }] as ["header", { cookie: string }] };
  return { heard, options: { auth, logger, telemetry: { debug: true } } };
}

describeOnEveryGate("what hostile requests leave in logs and events,", (start) => {
  it("is short lines of printable ASCII, and nothing that a sender without a key has chosen", async () => {
    const { heard, options } = listen();
    const { url } = await start(options);
    for (const token of unsigned) expect((await send(`${url}/me`, { token })).status).to.equal(401);
    for (const field of fields) {
      const answer = await exchangeRaw(url, `POST /me HTTP/1.1\r\nHost: x\r\n${field}\r\nConnection: close\r\n\r\n`);
      expect(statusOf(answer), field.slice(0, 60)).to.be.within(400, 403);
    }
    expect(heard).to.have.length.above(2 * (unsigned.length + fields.length));
    for (const line of heard)
      expect(line)
        .to.match(/^[\x20-\x7e]{1,700}$/)
        .and.not.match(/seeded|jndi|forged/);
  });

  it("is short lines of printable ASCII, without names of users, also where the issuer has signed the token", async () => {
    const { heard, options } = listen();
    const { url } = await start(options);
    for (const token of signed) {
      const { status } = await send(`${url}/me`, { token });
      expect(status === 200 || status === 401, token).to.equal(true);
    }
    expect(heard).to.have.length.above(signed.length);
    for (const line of heard)
      expect(line)
        .to.match(/^[\x20-\x7e]{1,900}$/)
        .and.not.match(/seeded-/);
  });
});

describeOnEveryGate("the counters of requests that come at once or are dropped,", (start) => {
  it("count each of them once", async () => {
    const { url, gate } = await start();
    const [good, bad] = [await signToken(), await signToken({ aud: "other" })];
    const request = (token: string, more = ""): string =>
      `GET /me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`;
    await exchangeRaw(
      url,
      `${request(bad).repeat(20)}${request(good).repeat(19)}${request(good, "Connection: close\r\n")}`,
    );
    expect(outcomesOf(gate)).to.deep.equal({ allowed: 20, denied: 20 });
    const { port } = new URL(url);
    for (let index = 0; index < 10; index += 1) {
      const socket = connectSocket(Number(port), "127.0.0.1").on("error", () => undefined);
      socket.write(request(index % 2 === 0 ? good : bad).repeat(3), () => socket.destroy());
      await new Promise((resolve) => socket.once("close", resolve));
    }
    // What the server has not read when the connection ends never was a request.
    await exchangeRaw(url, request(good, "Connection: close\r\n"));
    const { allowed = 0, denied = 0, ...others } = outcomesOf(gate);
    expect(others).to.deep.equal({});
    expect(allowed).to.be.within(21, 36);
    expect(denied).to.be.within(20, 35);
  });
});

for (const [name, Framework] of [
  ["Koa", Koa],
  ["Koa 2", Koa2],
] as const)
  describe(`the counters of requests over HTTP/2 on ${name}`, () => {
    it("count each once, also with streams that are reset, a method of any text, and no route", async () => {
      const gate = portcullis({ redis: "memory", auth: testAuth, logger: silentLogger });
      const app = new Framework();
      app.silent = true;
      app.use(gate.guard());
      let seen = 0;
      const server = createServer((req, res) => {
        seen += 1;
        void app.callback()(req, res);
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`).on(
        "error",
        () => undefined,
      );
      cleanUpInTest(async () => {
        session.destroy();
        await new Promise((resolve) => server.close(resolve));
        await gate.close();
      });
      const token = await signToken();
      const streams = Array.from({ length: 60 }, async (_, index) => {
        const stream = session.request({
          ...{ ":path": "/none", ":method": index % 5 === 0 ? "X".repeat(5000) : "GET" },
          ...(index % 4 === 0 ? {} : { authorization: `Bearer ${token}` }),
        });
        stream.on("error", () => undefined).resume();
        if (index % 3 === 0) setImmediate(() => stream.close(constants.NGHTTP2_CANCEL));
        await new Promise((resolve) => stream.once("close", resolve));
      });
      await Promise.all(streams);
      const total = (): number => Object.values(outcomesOf(gate)).reduce((sum, value) => sum + value, 0);
      await until(() => total() >= seen);
      expect(total()).to.equal(seen).and.be.within(40, 60);
      const names = gate.metrics().flatMap(({ samples }) => samples.flatMap(({ labels }) => Object.values(labels)));
      expect(names.join(" ")).not.to.match(/X{10}|none\b.*\/|alice/);
    });
  });
