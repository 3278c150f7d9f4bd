import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Auth, Gate, PortcullisOptions } from "@portcullis/core";
import { nowSeconds, signToken, testAudience, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { SignJWT } from "jose";
import { send } from "../support/http.js";
import { silentLogger } from "../support/logger.js";
import { root, snippetsOf } from "./documents.js";

type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;
type PlainGate = Gate<IncomingMessage, Middleware>;
interface Adapter {
  portcullis(options: PortcullisOptions<IncomingMessage>): PlainGate;
}

const partnerSecret = "the secret of partners, 32 bytes or more";
const partnerIssuer = "https://partners.test";

describe("the adapter in packages/core/README.md", () => {
  let directory: string;
  let adapter: Adapter;
  const ends: (() => Promise<unknown>)[] = [];

  before(async () => {
    const [snippet] = snippetsOf("packages/core/README.md").filter(({ language }) => language === "ts");
    directory = await mkdtemp(join(root, "test", ".tmp-adapter-"));
    const file = join(directory, "adapter.ts");
    await writeFile(file, snippet?.code ?? "");
    adapter = (await import(pathToFileURL(file).href)) as Adapter;
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });
  after(() => rm(directory, { recursive: true, force: true }));

  function open(options: PortcullisOptions<IncomingMessage>): PlainGate {
    const gate = adapter.portcullis({ redis: "memory", logger: silentLogger, ...options });
    ends.push(() => gate.close());
    return gate;
  }

  async function start(...steps: Middleware[]): Promise<string> {
    const server = createServer((req, res) => {
      const run = (index: number, error?: unknown): void => {
        if (error !== undefined) return void res.writeHead(500).end();
        const step = steps[index];
        if (step !== undefined) return step(req, res, (problem) => run(index + 1, problem));
        const { auth, partner } = req as { auth?: Auth; partner?: Auth };
        res.setHeader("Content-Type", "application/json");
        res.end(JSON.stringify({ user: auth?.subject ?? null, partner: partner?.subject ?? null }));
      };
      run(0);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ends.push(() => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async function ofPartner(claims: object): Promise<string> {
    const payload = { iss: partnerIssuer, aud: testAudience, jti: "partner", exp: nowSeconds() + 300, ...claims };
    return new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(partnerSecret));
  }

  it("never gives a user of one gate the rights of a user of another", async () => {
    const gate = open({ auth: testAuth });
    const partners = open({
      property: "partner",
      auth: {
        ...{ secret: partnerSecret, algorithms: ["HS256"], issuer: partnerIssuer, audience: testAudience },
        tokenFrom: ({ headers }) => String(headers["x-partner"] ?? ""),
      },
    });
    const url = await start(gate.guard(), partners.guard({ optional: true }), gate.requireScopes("admin"));
    const [plain, admin] = [await signToken({ sub: "alice" }), await signToken({ sub: "alice", scope: "admin" })];
    const headers = { "x-partner": await ofPartner({ sub: "mallory", scope: "admin" }) };
    expect((await send(url, { token: plain, headers })).status).to.equal(403);
    expect((await send(url, { token: plain })).status).to.equal(403);
    expect((await send(url, { token: admin })).json).to.deep.equal({ user: "alice", partner: null });
    expect((await send(url, { token: admin, headers })).json).to.deep.equal({ user: "alice", partner: "mallory" });
    expect((await send(url, { headers })).status).to.equal(401);
  });

  it("counts a request once, answers refusals, and hands on errors", async () => {
    const gate = open({ limits: [{ name: "ip", per: "ip", limit: 2, window: "1m" }] });
    const guard = gate.guard();
    const url = await start(guard, guard);
    const statuses = [];
    for (let count = 0; count < 3; count += 1) statuses.push((await send(url)).status);
    expect(statuses).to.deep.equal([200, 200, 429]);
    const broken = gate.limit({
      ...{ name: "broken", limit: 1, window: "1m" },
      per: () => {
        throw new Error("no key");
      },
    });
    expect((await send(await start(broken))).status).to.equal(500);
  });
});
