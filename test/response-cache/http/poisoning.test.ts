import { expect } from "chai";
import { describeOnEveryGate } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { serveCached } from "../../support/response-cache.js";

const fresh = { "cache-control": "max-age=60" };

/** Fields by which proxies tell an application how it was called, beside those that are asked elsewhere. */
const implied = [
  ...["x-forwarded-context", "x-forwarded-base-path", "x-forwarded-original-host", "x-forwarded-https", "x-forwarded"],
  ...["x-original-path", "x-original-proto", "x-envoy-original-path", "x-replaced-path", "x-script-name", "x-proto"],
  ...["disguised-host", "cloudfront-forwarded-proto", "x-arr-ssl", "x-waws-unencoded-url", "x-base-url", "x-scheme"],
];

describeOnEveryGate("a response that was made for one request", (start) => {
  it("is not found by others, by whichever field of a proxy it was forged", async () => {
    const app = await serveCached(start, ({ url, headers }) => ({
      headers: fresh,
      body: String(headers[url.slice(1)] ?? "as sent"),
    }));
    for (const name of implied) {
      expect((await send(`${app.url}/${name}`, { headers: { [name]: "evil" } })).text, name).to.equal("evil");
      expect((await send(`${app.url}/${name}`)).text, name).to.equal("as sent");
      expect((await send(`${app.url}/${name}`, { headers: { [name]: "evil" } })).text, name).to.equal("evil");
    }
    expect(app.calls()).to.equal(2 * implied.length);
  });

  it("is found from every address, and by every user if it says so, whatever proxies tell of them", async () => {
    const app = await serveCached(start, () => ({ headers: { "cache-control": "public, max-age=60" }, body: "x" }));
    await send(`${app.url}/a`);
    for (const name of ["x-forwarded-for", "x-original-forwarded-for", "x-forwarded-client-ip", "x-forwarded-user"])
      expect((await send(`${app.url}/a`, { headers: { [name]: "192.0.2.1" } })).text, name).to.equal("x");
    expect(app.calls()).to.equal(1);
  });

  it("is chosen by the fields as they came, whatever its handler does to them", async () => {
    const changes: Record<string, (fields: Record<string, unknown>) => void> = {
      removed: (fields) => delete fields["x-view"],
      replaced: (fields) => (fields["x-view"] = "bob's"),
      added: (fields) => (fields["x-view"] ??= "bob's"),
    };
    const app = await serveCached(start, ({ url, headers }) => {
      const body = String(headers["x-view"] ?? "nobody's");
      changes[url.slice(1)]?.(headers);
      return { headers: { ...fresh, vary: "X-View" }, body };
    });
    const views = ["alice's", undefined, "bob's"];
    for (const path of Object.keys(changes))
      for (const view of [...views, ...views]) {
        const answer = await send(`${app.url}/${path}`, view === undefined ? {} : { headers: { "x-view": view } });
        expect(answer.text, path).to.equal(view ?? "nobody's");
      }
    expect(app.calls()).to.equal(views.length * Object.keys(changes).length);
  });

  it("may vary by a name that every object has", async () => {
    const app = await serveCached(start, ({ url }) => ({ headers: { ...fresh, vary: url.slice(1) }, body: url }));
    for (const name of ["__proto__", "constructor", "toString"])
      for (let time = 0; time < 2; time += 1) {
        const answer = await send(`${app.url}/${name}`);
        expect([answer.status, answer.text]).to.deep.equal([200, `/${name}`]);
      }
    expect(app.calls()).to.equal(3);
  });
});
