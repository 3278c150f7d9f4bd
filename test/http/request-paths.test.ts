import { once } from "node:events";
import { connect, createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { portcullis } from "@portcullis/koa";
import { createTokenFactory } from "@portcullis/core/testing";
import { expect } from "chai";
import Koa from "koa";
import Koa2 from "koa2";
import { cleanUpInTest } from "../support/clean-up.js";
import { silentLogger } from "../support/logger.js";

/** The status of a request over HTTP/2, or `refused` where Node's HTTP/2 does not let it through. */
async function ask(port: number, path: string, token: string, method = "GET"): Promise<number | "refused"> {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  try {
    const stream = session.request({ ":method": method, ":path": path, authorization: `Bearer ${token}` });
    stream.resume();
    const [headers] = (await once(stream, "response")) as [{ ":status"?: number }];
    return headers[":status"] ?? "refused";
  } catch {
    return "refused";
  } finally {
    session.destroy();
  }
}

/** Serves over HTTP/2 without TLS. Resolves to the port. */
async function listen(app: { callback(): unknown }): Promise<number> {
  const handle = app.callback() as (req: unknown, res: unknown) => Promise<void>;
  const server = createServer((req, res) => void handle(req, res)).listen(0, "127.0.0.1");
  cleanUpInTest(() => void server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

for (const [name, Framework] of [
  ["Koa 3", Koa],
  ["Koa 2", Koa2],
] as const) {
  it(`a path in bytes that HTTP/1 does not carry does not get around when() over HTTP/2 on ${name}`, async () => {
    const tokens = createTokenFactory({ audience: "a" });
    const gate = portcullis({ redis: "memory", auth: tokens.auth, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    const app = new Framework();
    app.use(gate.guard());
    app.use(gate.when({ path: ["/admin", "/admin/*"] }, gate.requireRole("admin")));
    app.use((ctx) => (ctx.body = ctx.path));
    const port = await listen(app);
    const token = await tokens.sign({ sub: "mallory", roles: ["user"] });
    const trailing = ["\u00a0", "\u00a0\u00a0", "\t", " ", "\f", "\u0085", "\u00ff", "\\", "#x", "?\u00a0", "\u00a0?x"];
    const answers: [string, number | "refused"][] = [];
    for (const path of ["/admin", "//admin", ...trailing.map((one) => `/admin${one}`)])
      answers.push([path, await ask(port, path, token)]);
    expect(answers.filter(([, status]) => status !== 403 && status !== "refused")).to.deep.equal([]);
    expect(answers).to.deep.include(["/admin\u00a0", 403]);
    expect(await ask(port, "/orders", token)).to.equal(200);
  });

  it(`a method in lower case, which HTTP/1 does not carry, does not get around when() over HTTP/2 on ${name}`, async () => {
    const tokens = createTokenFactory({ audience: "a" });
    const gate = portcullis({ redis: "memory", auth: tokens.auth, logger: silentLogger });
    cleanUpInTest(() => gate.close());
    const app = new Framework();
    app.use(gate.guard());
    app.use(gate.when({ path: "/orders", method: ["POST", "GET"] }, gate.requireRole("admin")));
    app.use((ctx) => (ctx.body = ctx.method));
    const port = await listen(app);
    const token = await tokens.sign({ sub: "mallory", roles: ["user"] });
    for (const method of ["POST", "post", "Post", "head", "get"])
      expect(await ask(port, "/orders", token, method), method).to.equal(403);
    expect(await ask(port, "/orders", token, "delete")).to.equal(200);
  });
}
