import { Readable } from "node:stream";
import { expect } from "chai";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { serveCached } from "../../support/response-cache.js";

const modified = "Tue, 24 Nov 2026 10:00:00 GMT";
const fresh = { "cache-control": "max-age=60", etag: '"v1"', "last-modified": modified };

describeOnEveryFramework("a request that wants more than the stored response", (start) => {
  it("does not reach the handler by any field where its wishes are ignored", async () => {
    const app = await serveCached(start, () => ({ headers: fresh, body: "costly" }), { requestDirectives: "ignore" });
    const wishes: Record<string, string>[] = [
      { range: "bytes=0-1" },
      { range: "x", "if-range": '"v0"' },
      { "if-match": "*" },
      { "if-unmodified-since": modified },
      { upgrade: "h2c" },
      { "cache-control": "no-cache" },
      { pragma: "no-cache" },
    ];
    for (const headers of wishes) {
      const answer = await send(`${app.url}/a`, { headers });
      expect([answer.status, answer.text, answer.headers["content-range"]]).to.deep.equal([200, "costly", undefined]);
    }
    expect(app.calls()).to.equal(1);
    const asked = await send(`${app.url}/a`, { headers: { cookie: "a=b" } });
    expect([asked.text, app.calls()]).to.deep.equal(["costly", 1]);
  });

  it("has If-Match judged by the stored response there, and by the one that the handler just made", async () => {
    const app = await serveCached(start, ({ headers }) => ({ headers: fresh, body: Object.keys(headers).join() }), {
      requestDirectives: "ignore",
    });
    const earlier = "Tue, 24 Nov 2026 09:59:59 GMT";
    for (const path of ["/a", "/a", "/b"])
      for (const [headers, status] of [
        [{ "if-match": '"v0"' }, 412],
        [{ "if-match": '"v0", "v1"' }, 200],
        [{ "if-match": 'W/"v1"' }, 412],
        [{ "if-match": "*" }, 200],
        [{ "if-unmodified-since": earlier }, 412],
        [{ "if-unmodified-since": modified }, 200],
        [{ "if-match": '"v1"', "if-unmodified-since": earlier }, 200],
        [{ "if-match": '"v1"', "if-none-match": '"v1"' }, 304],
        [{ "if-match": '"v0"', "if-none-match": '"v1"' }, 412],
      ] as const) {
        const answer = await send(`${app.url}${path}`, { headers });
        expect(answer.status, `${path} ${JSON.stringify(headers)}`).to.equal(status);
        if (status === 200) expect(answer.text).not.to.include("if-match");
        else expect(answer.text).to.equal("");
      }
    expect(app.calls()).to.equal(2);
  });

  it("has a precondition judged for a stream too, and gets nothing of it where it fails", async () => {
    const app = await serveCached(
      start,
      () => ({ headers: fresh, body: Readable.from([Buffer.from("a"), Buffer.from("b")]) }),
      {
        requestDirectives: "ignore",
      },
    );
    const failed = await send(`${app.url}/a`, { headers: { "if-match": '"v0"' } });
    expect([failed.status, failed.text]).to.deep.equal([412, ""]);
    expect((await send(`${app.url}/a`, { headers: { "if-match": '"v1"' } })).text).to.equal("ab");
    expect((await send(`${app.url}/a`)).headers["cache-status"]).to.include("hit");
    expect((await send(`${app.url}/a`, { headers: { "if-match": '"v0"' } })).status).to.equal(412);
    // Koa's stream may have been stored whole already when nothing of it was sent.
    expect(app.calls()).to.be.within(1, 2);
  });

  it("finds the stored response also where that varies by a field that is ignored", async () => {
    const app = await serveCached(start, () => ({ headers: { ...fresh, vary: "Range, Upgrade" }, body: "x" }), {
      requestDirectives: "ignore",
    });
    for (const headers of [{}, { range: "bytes=0-0" }, { upgrade: "h2c" }])
      await send(`${app.url}/a`, { headers: headers });
    expect(app.calls()).to.equal(1);
  });
});

describeOnEveryFramework("a field in Vary", (start) => {
  it("is compared as it was sent, also where blanks are the only difference", async () => {
    const app = await serveCached(start, ({ headers }) => ({
      headers: { "cache-control": "max-age=60", vary: "X-View" },
      body: String(headers["x-view"]),
    }));
    const values = ["a  b", "a b", "a,b", "a, b", "a ,b", '"a,  b"', '"a, b"', "a\tb"];
    for (const value of [...values, ...values])
      expect((await send(`${app.url}/a`, { headers: { "x-view": value } })).text).to.equal(value);
    expect(app.calls()).to.equal(values.length);
  });

  it("ignores blanks around the members of Accept lists, except within quotes", async () => {
    const app = await serveCached(start, ({ headers }) => ({
      headers: { "cache-control": "max-age=60", vary: "Accept-Language, Accept" },
      body: `${String(headers["accept-language"])} ${String(headers.accept)}`,
    }));
    const ask = async (language: string, accept: string) =>
      (await send(`${app.url}/a`, { headers: { "accept-language": language, accept } })).text;
    for (const language of ["de,en;q=0.5", "de, en;q=0.5", "de  ,\ten;q=0.5"])
      expect(await ask(language, "text/html")).to.equal("de,en;q=0.5 text/html");
    expect(app.calls()).to.equal(1);
    for (const accept of ['text/html;a=",  "', 'text/html;a=", "'])
      expect(await ask("de", accept)).to.equal(`de ${accept}`);
    expect(app.calls()).to.equal(3);
  });
});
