import { expect } from "chai";
import fc from "fast-check";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { exchangeRaw } from "../../support/raw.js";
import { serveCached } from "../../support/response-cache.js";

const fresh = { "cache-control": "max-age=60" };

/** Spellings by which some parser finds a value of `q`. */
const spellings = [
  ...["%71=evil", "q[]=evil", "q%5B%5D=evil", "q%5B0%5D=evil", "q[a]=evil", "q.x=evil", "Q=evil", "+q=evil", "q+=evil"],
  ...["x=1;q=evil", "q=1&q=evil", "%71=1&q=evil", "?q=evil", "q%=evil", `${"x=1&".repeat(1000)}q=evil`],
];

describeOnEveryFramework("the query by which the response cache finds a response", (start) => {
  it("lets no spelling of a wanted parameter leave its response where the plain address finds it", async () => {
    const app = await serveCached(
      start,
      ({ query }) => ({ headers: fresh, body: { q: query.q ?? null, page: query.page ?? null } }),
      { query: ["page", "q"] },
    );
    for (const spelling of spellings) {
      await send(`${app.url}/list?${spelling}`);
      await send(`${app.url}/list?${spelling}&page=7`);
      await send(`${app.url}/list?page=7&${spelling}`);
    }
    for (const [address, page] of [
      ["/list", null],
      ["/list?", null],
      ["/list?x=1", null],
      ["/list?page=7", "7"],
      ["/list?page=7&utm=2", "7"],
    ])
      expect((await send(`${app.url}${String(address)}`)).json, String(address)).to.deep.equal({ q: null, page });
    const { headers } = await send(`${app.url}/list?utm=3&page=7`);
    expect(headers["cache-status"]).to.include("hit");
  });

  it("answers any query as the handler would", async () => {
    const app = await serveCached(
      start,
      ({ query }) => ({ headers: fresh, body: { q: query.q ?? null, page: query.page ?? null } }),
      { query: { only: ["page", "q"], sort: true }, skip: (raw) => "x-skip" in (raw as { headers: object }).headers },
    );
    const names = [
      "q",
      "%71",
      "q[]",
      "q%5B1%5D",
      "q.x",
      "Q",
      "page",
      "page[]",
      "utm",
      "utm%5Fa",
      "",
      "x;q",
      "__proto__",
    ];
    const parameter = fc
      .tuple(fc.constantFrom(...names), fc.constantFrom("1", "2", "1]=2"))
      .map((pair) => pair.join("="));
    const query = fc.array(parameter, { maxLength: 3 }).map((all) => all.join("&"));
    await fc.assert(
      fc.asyncProperty(query, async (text) => {
        const url = `${app.url}/list?${text}`;
        const [kept, made] = [await send(url), await send(url, { headers: { "x-skip": "1" } })];
        expect(kept.text, text).to.equal(made.text);
      }),
      { numRuns: 60 },
    );
  });

  it("is one of its own for each order of parameters, unless they may be sorted", async () => {
    const handle = ({ url }: { url: string }) => ({ headers: fresh, body: url });
    const orders = ["/img?crop=5&resize=10", "/img?resize=10&crop=5"];
    const strict = await serveCached(start, handle);
    for (const url of [...orders, ...orders]) expect((await send(strict.url + url)).text).to.equal(url);
    expect(strict.calls()).to.equal(2);
    const sorted = await serveCached(start, handle, { query: { sort: true } });
    for (const url of orders) expect((await send(sorted.url + url)).text).to.equal(orders[0]);
    for (const url of ["/img?a=1&a=2", "/img?a=2&a=1"]) expect((await send(sorted.url + url)).text).to.equal(url);
    await send(`${sorted.url}${String(orders[1])}`, { method: "POST" });
    const calls = sorted.calls();
    await send(`${sorted.url}${String(orders[0])}`);
    expect(sorted.calls()).to.equal(calls + 1);
  });

  it("is none where the target of a request is no path, which routers and handlers read differently", async () => {
    const app = await serveCached(start, ({ url }) => ({ headers: fresh, body: url }));
    const { host } = new URL(app.url);
    const ask = (target: string, method = "GET"): Promise<string> =>
      exchangeRaw(
        app.url,
        `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
    await send(`${app.url}/a`);
    for (const target of ["/a#?q=evil", "/a#x", `http://${host}/a`, "http://evil.example/a"])
      expect(await ask(target), target).to.include("fwd=bypass");
    expect(app.calls()).to.equal(5);
    // What changes something in such a form is heard all the same.
    await ask(`http://${host}/a`, "POST");
    await send(`${app.url}/a`);
    expect(app.calls()).to.equal(7);
  });
});
