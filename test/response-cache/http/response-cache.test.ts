import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { gunzipSync, gzipSync } from "node:zlib";
import { expect } from "chai";
import { describeOnEveryGate } from "../../support/every-gate.js";
import { send, sendForBytes } from "../../support/http.js";
import type { OriginAnswer } from "../../support/origin.js";
import { serveCached } from "../../support/response-cache.js";

const fresh = { "cache-control": "max-age=60" };

describeOnEveryGate("the response cache", (start) => {
  it("answers with a fresh stored response and its age", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: { made: 1 } }));
    const first = await send(`${app.url}/a`);
    const second = await send(`${app.url}/a`);
    expect(app.calls()).to.equal(1);
    expect(first.headers["cache-status"]).to.equal("portcullis; fwd=uri-miss; stored");
    expect(first.headers).not.to.have.property("age");
    expect(second.headers["cache-status"]).to.match(/^portcullis; hit; ttl=(59|60)$/);
    expect(second.headers.age).to.match(/^[01]$/);
    expect(second.json).to.deep.equal({ made: 1 });
    expect(second.status).to.equal(200);
    for (const name of ["content-type", "content-length", "etag", "cache-control"])
      expect(second.headers[name], name).to.equal(first.headers[name]);
  });

  it("keeps bytes as they are, whatever they are", async () => {
    const bytes = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256));
    const app = await serveCached(start, ({ url }) => ({
      headers: { ...fresh, "content-type": "application/octet-stream" },
      body: url === "/broken" ? Buffer.from([0xff, 0xfe, 0x00]) : url === "/empty" ? Buffer.alloc(0) : bytes,
    }));
    for (const path of ["/bytes", "/broken", "/empty"]) {
      const made = await sendForBytes(`${app.url}${path}`);
      const kept = await sendForBytes(`${app.url}${path}`);
      expect(kept.headers["cache-status"]).to.include("hit");
      expect(kept.bytes.equals(made.bytes), path).to.equal(true);
    }
    expect((await sendForBytes(`${app.url}/bytes`)).bytes.equals(bytes)).to.equal(true);
  });

  it("stores a stream as it passes, unless it is too large or breaks off", async () => {
    const app = await serveCached(
      start,
      ({ url, response }) => {
        if (url === "/large")
          return { headers: fresh, body: Readable.from([Buffer.alloc(900, "a"), Buffer.alloc(900, "b")]) };
        if (url === "/broken") return breakOff(response);
        return { headers: fresh, body: Readable.from([Buffer.from("one "), Buffer.from("two")]) };
      },
      { maxSize: 1000 },
    );
    expect((await send(`${app.url}/small`)).text).to.equal("one two");
    const kept = await send(`${app.url}/small`);
    expect([kept.text, app.calls()]).to.deep.equal(["one two", 1]);
    expect(kept.headers["cache-status"]).to.include("hit");
    for (const calls of [2, 3]) {
      expect((await send(`${app.url}/large`)).text).to.have.length(1800);
      expect(app.calls()).to.equal(calls);
    }
    for (const calls of [4, 5]) {
      await send(`${app.url}/broken`).catch(() => undefined);
      expect(app.calls()).to.equal(calls);
    }
  });

  it("answers HEAD from the stored response to GET, and stores nothing for HEAD", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: "12345" }));
    await send(`${app.url}/a`, { method: "HEAD" });
    await send(`${app.url}/a`);
    expect(app.calls()).to.equal(2);
    const head = await send(`${app.url}/a`, { method: "HEAD" });
    expect(app.calls()).to.equal(2);
    expect(head.headers["content-length"]).to.equal("5");
    expect([head.status, head.text]).to.deep.equal([200, ""]);
  });

  it("evaluates conditions, on a hit and on a new response of the handler", async () => {
    const app = await serveCached(start, ({ headers }) => ({
      headers: { ...fresh, "last-modified": "Tue, 24 Nov 2026 10:00:00 GMT" },
      body: `no condition seen: ${String(headers["if-none-match"] === undefined)}`,
    }));
    const { headers, text } = await send(`${app.url}/a`);
    expect(text).to.equal("no condition seen: true");
    const etag = String(headers.etag);
    expect(etag).to.match(/^W\/"/);
    for (const path of ["/a", "/never-asked"]) {
      const answer = await send(`${app.url}${path}`, { headers: { "if-none-match": `"other", ${etag}` } });
      expect([answer.status, answer.text, answer.headers.etag], path).to.deep.equal([304, "", etag]);
      expect(answer.headers["cache-control"]).to.equal("max-age=60");
      expect(answer.headers).not.to.have.any.keys("content-type", "content-encoding");
    }
    expect((await send(`${app.url}/never-asked`)).text).to.equal("no condition seen: true");
    const since = { "if-modified-since": "Tue, 24 Nov 2026 10:00:00 GMT" };
    expect((await send(`${app.url}/a`, { headers: since })).status).to.equal(304);
    const earlier = { "if-modified-since": "Tue, 24 Nov 2026 09:59:59 GMT" };
    expect((await send(`${app.url}/a`, { headers: earlier })).status).to.equal(200);
    expect((await send(`${app.url}/a`, { headers: { ...since, "if-none-match": '"other"' } })).status).to.equal(200);
    expect(app.calls()).to.equal(2);
  });

  it("makes strong entity tags, or none, by an option", async () => {
    const strong = await serveCached(
      start,
      ({ response }) => {
        response.statusCode = 200;
        response.setHeader("cache-control", "max-age=60");
        response.end("x");
        return { done: true };
      },
      { etag: "strong" },
    );
    expect((await send(`${strong.url}/a`)).headers.etag).to.match(/^"[\w-]{27}"$/);
    const none = await serveCached(
      start,
      ({ response }) => {
        response.writeHead(200, { "cache-control": "max-age=60", "content-type": "text/plain" });
        response.end("x");
        return { done: true };
      },
      { etag: false },
    );
    expect((await send(`${none.url}/a`)).headers).not.to.have.property("etag");
    const kept = await send(`${none.url}/a`);
    expect([kept.headers["content-type"], kept.headers.etag, none.calls()]).to.deep.equal(["text/plain", undefined, 1]);
  });

  it("separates responses by encoding", async () => {
    const app = await serveCached(start, ({ headers }) =>
      headers["accept-encoding"] === "gzip"
        ? { headers: { ...fresh, "content-encoding": "gzip", "content-type": "text/plain" }, body: gzipSync("hello") }
        : { headers: { ...fresh, "content-type": "text/plain", vary: "Accept-Encoding" }, body: "hello" },
    );
    const gzip = { headers: { "accept-encoding": "gzip" } };
    for (let time = 0; time < 2; time += 1) {
      expect((await send(`${app.url}/a`)).text).to.equal("hello");
      const answer = await sendForBytes(`${app.url}/a`, gzip);
      expect(answer.headers["content-encoding"]).to.equal("gzip");
      expect(gunzipSync(answer.bytes).toString()).to.equal("hello");
    }
    expect(app.calls()).to.equal(2);
  });

  it("identifies a path by its query as it was sent, or by the configured parameters alone", async () => {
    const all = await serveCached(start, ({ url }) => ({ headers: fresh, body: url }));
    for (const url of [
      "/a",
      "/a?x=1",
      "/a?x=2",
      "/a?x=1&x=2",
      "/a?x=2&x=1",
      "/a?x=1&y=2",
      "/a?y=2&x=1",
      "/a?z[]=1&z[0]=2",
    ])
      expect((await send(all.url + url)).text).to.equal(url);
    const some = await serveCached(start, ({ url }) => ({ headers: fresh, body: url }), { query: ["x"] });
    for (const url of ["/a?x=1&utm=1", "/a?utm=2&x=1", "/a?x=1"])
      expect((await send(some.url + url)).text).to.equal("/a?x=1&utm=1");
    expect((await send(`${some.url}/a?x=2`)).text).to.equal("/a?x=2");
  });

  it("invalidates responses at an unsafe request to the same address, also if only a part of the query is in the key", async () => {
    for (const options of [{}, { query: ["x"] }]) {
      const app = await serveCached(start, () => ({ headers: fresh, body: "v" }), options);
      const url = `${app.url}/a?x=1&utm=1`;
      for (let round = 0; round < 2; round += 1) await send(url);
      expect(app.calls()).to.equal(1);
      await send(url, { method: "POST" });
      expect(app.calls()).to.equal(2);
      await send(url);
      expect(app.calls()).to.equal(3);
    }
  });

  it("follows the Cache-Control of a request, unless an option forbids it", async () => {
    const app = await serveCached(start, () => ({ headers: { ...fresh, age: "30" }, body: "x" }));
    const ask = async (headers: Record<string, string>) => (await send(`${app.url}/a`, { headers })).status;
    const control = (text: string) => ({ "cache-control": text });
    expect(await ask(control("only-if-cached"))).to.equal(504);
    expect(app.calls()).to.equal(0);
    await ask({});
    for (const text of ["only-if-cached", "max-age=40", "min-fresh=20", "max-stale"]) await ask(control(text));
    expect(app.calls()).to.equal(1);
    for (const text of ["no-cache", "no-store", "max-age=20", "max-age=0", "min-fresh=40"]) await ask(control(text));
    await ask({ pragma: "no-cache" });
    expect(app.calls()).to.equal(7);
    const deaf = await serveCached(start, () => ({ headers: fresh, body: "x" }), { requestDirectives: "ignore" });
    for (const text of ["no-cache", "no-store", "max-age=0"]) await send(`${deaf.url}/a`, { headers: control(text) });
    expect(deaf.calls()).to.equal(1);
  });

  it("forwards requests for a range, with preconditions on state, or with a body", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: "x" }));
    await send(`${app.url}/a`);
    for (const headers of [
      { range: "bytes=0-0" },
      { "if-match": "*" },
      { "if-unmodified-since": "x" },
      { "content-length": "0", upgrade: "h2c" },
    ]) {
      const answer = await send(`${app.url}/a`, { headers: headers });
      expect(answer.headers["cache-status"]).to.equal("portcullis; fwd=bypass");
    }
    expect((await send(`${app.url}/a`, { body: "x" })).headers["cache-status"]).to.equal("portcullis; fwd=bypass");
    expect((await send(`${app.url}/a`, { method: "OPTIONS" })).headers["cache-status"]).to.equal(
      "portcullis; fwd=method",
    );
    expect((await send(`${app.url}/a`)).headers["cache-status"]).to.include("hit");
  });

  it("stores a response without freshness only with a ttl, and never a failure", async () => {
    const answer = ({ url }: { url: string }) => ({ status: Number(url.slice(1)), body: "x" });
    const silent = await serveCached(start, answer);
    for (let time = 0; time < 2; time += 1) await send(`${silent.url}/200`);
    expect(silent.calls()).to.equal(2);
    const app = await serveCached(start, answer, { ttl: "1m" });
    const kept: number[] = [];
    for (const status of [200, 203, 302, 303, 400, 401, 403, 404, 410, 429, 500, 502, 503]) {
      await send(`${app.url}/${status}`);
      const before = app.calls();
      expect((await send(`${app.url}/${status}`)).status).to.equal(status);
      if (app.calls() === before) kept.push(status);
    }
    expect(kept).to.deep.equal([200, 203, 404, 410]);
    const failing = await serveCached(start, ({ response }) => {
      response.setHeader("cache-control", "max-age=60");
      throw new Error("a bug of the application");
    });
    for (const calls of [1, 2])
      expect([(await send(`${failing.url}/a`)).status, failing.calls()]).to.deep.equal([500, calls]);
  });
});

/** Writes half of what it promised, and is gone. */
function breakOff(response: ServerResponse): OriginAnswer {
  response.writeHead(200, { ...fresh, "content-length": "8" });
  response.write("1234", () => response.destroy());
  return { done: true };
}
