import { Agent } from "node:http";
import { expect } from "chai";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { latch, serveCached } from "../../support/response-cache.js";
import { until } from "../../support/until.js";

const fresh = { "cache-control": "max-age=60" };

describeOnEveryFramework("the life of a stored response", (start) => {
  it("begins once for all who ask meanwhile", async () => {
    const gate = latch();
    const app = await serveCached(start, async () => {
      await gate.opened;
      return { headers: fresh, body: "x" };
    });
    const agent = new Agent({ keepAlive: false });
    const asked = Array.from({ length: 50 }, () => send(`${app.url}/a`, { agent }));
    await until(() => app.calls() > 0);
    const metric = () => JSON.stringify(app.gate.metrics().find(({ name }) => name === "portcullis_responses_total"));
    await until(() => metric().includes('"miss"'));
    gate.open();
    const answers = await Promise.all(asked);
    expect(app.calls()).to.equal(1);
    const how = answers.map(({ headers }) => String(headers["cache-status"]).replace(/; ttl=.*/, ""));
    expect(how.filter((one) => one === "portcullis; fwd=uri-miss; stored")).to.have.length(1);
    expect(how.every((one) => /hit|collapsed|stored/.test(one))).to.equal(true);
    expect(new Set(answers.map(({ text }) => text))).to.deep.equal(new Set(["x"]));
  });

  it("does not begin for responses to one request alone: no other request waits", async () => {
    const gate = latch();
    const app = await serveCached(start, async ({ url, headers, response }) => {
      if (url === "/own") {
        response.statusCode = 200;
        response.setHeader("cache-control", "private");
        response.write("begun ");
      }
      if (headers["x-slow"] !== undefined) await gate.opened;
      if (url !== "/own") return { body: "x" };
      response.end("x");
      return { done: true };
    });
    const slow = send(`${app.url}/own`, { headers: { "x-slow": "1" } });
    await until(() => app.calls() === 1);
    expect((await send(`${app.url}/own`)).text).to.equal("begun x");
    gate.open();
    await slow;
    expect(app.calls()).to.equal(2);
  });

  it("does not hang on one who hangs, or goes away", async () => {
    const gate = latch();
    const app = await serveCached(
      start,
      async ({ headers }) => {
        if (headers["x-slow"] !== undefined) await gate.opened;
        return { headers: fresh, body: "x" };
      },
      { wait: 30 },
    );
    const slow = send(`${app.url}/hanging`, { headers: { "x-slow": "1" } });
    await until(() => app.calls() === 1);
    expect((await send(`${app.url}/hanging`)).text).to.equal("x");
    gate.open();
    await slow;
  });

  it("passes on to the next when the first one's client goes away", async () => {
    const gate = latch();
    const app = await serveCached(start, async ({ headers }) => {
      if (headers["x-leaves"] !== undefined) await gate.opened;
      return { headers: fresh, body: headers["x-leaves"] === undefined ? "stayed" : "left" };
    });
    const agent = new Agent();
    const leaving = send(`${app.url}/a`, { headers: { "x-leaves": "1" }, agent }).catch(() => "gone");
    await until(() => app.calls() === 1);
    const waiting = Promise.all([send(`${app.url}/a`), send(`${app.url}/a`)]);
    agent.destroy();
    expect(await leaving).to.equal("gone");
    expect((await waiting).map(({ text }) => text)).to.deep.equal(["stayed", "stayed"]);
    expect(app.calls()).to.equal(2);
    gate.open();
  });

  it("goes on while one makes it anew", async () => {
    let gate = latch();
    gate.open();
    const app = await serveCached(start, async () => {
      const call = app.calls();
      await gate.opened;
      return {
        headers: { "cache-control": "max-age=60, stale-while-revalidate=60", age: call === 1 ? "61" : "0" },
        body: `${call}`,
      };
    });
    await send(`${app.url}/a`);
    gate = latch();
    const renewing = send(`${app.url}/a`);
    await until(() => app.calls() === 2);
    const stale = await send(`${app.url}/a`);
    expect(stale.text).to.equal("1");
    expect(stale.headers["cache-status"]).to.match(/^portcullis; hit; ttl=-[12]$/);
    gate.open();
    const renewed = await renewing;
    expect([renewed.text, renewed.headers["cache-status"]]).to.deep.equal(["2", "portcullis; fwd=stale; stored"]);
    const after = await send(`${app.url}/a`);
    expect([after.text, app.calls()]).to.deep.equal(["2", 2]);
  });

  it("covers for a handler that fails, if it may", async () => {
    const app = await serveCached(start, ({ url }) => {
      if (app.calls() % 2 === 0) {
        if (url.includes("throw")) throw new Error("a bug of the application");
        return { status: 503, headers: { "retry-after": "9", "x-own": "1" }, body: "down" };
      }
      const may = url.includes("must") ? "must-revalidate" : "stale-if-error=60";
      return { headers: { "cache-control": `public, max-age=60, ${may}`, age: "61" }, body: "old" };
    });
    for (const path of ["/throw", "/say"]) {
      await send(app.url + path);
      const answer = await send(app.url + path);
      expect([answer.status, answer.text], path).to.deep.equal([200, "old"]);
      expect(answer.headers["cache-status"]).to.match(/^portcullis; fwd=stale; fwd-status=50[03]; ttl=-[12]$/);
      expect(answer.headers).not.to.have.any.keys("retry-after", "x-own");
    }
    await send(`${app.url}/must`);
    expect((await send(`${app.url}/must`)).status).to.equal(503);
  });

  it("ends when it should, although the process that stored it had a clock that was ahead", async () => {
    const { now } = Date;
    const app = await serveCached(start, () => ({
      headers: { "cache-control": "public, max-age=2, stale-if-error=3600" },
      body: `made ${app.calls()}`,
    }));
    try {
      Date.now = () => now() + 600_000;
      await send(app.url);
    } finally {
      Date.now = now;
    }
    await until(async () => (await send(app.url)).text === "made 2");
  });

  it("covers for no handler that fails once its response was purged, not for one that began before", async () => {
    for (const way of ["purge", "purgePath", "POST"]) {
      const begun = latch();
      const failing = latch();
      const app = await serveCached(
        start,
        async ({ method }) => {
          if (method === "POST") return { status: 204 };
          if (app.calls() === 1)
            return { headers: { "cache-control": "public, max-age=60, stale-if-error=60", age: "61" }, body: "old" };
          begun.open();
          await failing.opened;
          return { status: 503, body: "down" };
        },
        { tags: ["t"] },
      );
      await send(`${app.url}/r`);
      const answer = send(`${app.url}/r`);
      await begun.opened;
      if (way === "purge") await app.gate.responses.purge("t");
      if (way === "purgePath") await app.gate.responses.purgePath("/r");
      if (way === "POST") await send(`${app.url}/r`, { method: "POST" });
      failing.open();
      expect((await answer).status, way).to.equal(503);
    }
  });

  it("ends with a successful unsafe request to its address, or one whose response names the address", async () => {
    const app = await serveCached(start, ({ method, url, headers }) => {
      if (method === "GET") return { headers: fresh, body: `${url} ${app.calls()}` };
      const status = Number(headers["x-status"] ?? "204");
      return { status, headers: url === "/names" ? { location: "/a?x=1", "content-location": `${app.url}/b` } : {} };
    });
    const isKept = async (path: string) => String((await send(app.url + path)).headers["cache-status"]).includes("hit");
    const post = async (path: string, status = 204, method = "POST") =>
      send(app.url + path, { method, headers: { "x-status": String(status) } });
    for (const [method, status, ends] of [
      ["POST", 200, true],
      ["PUT", 204, true],
      ["DELETE", 303, true],
      ["M-SEARCH", 200, true],
      ["POST", 404, false],
      ["PATCH", 500, false],
    ] as const) {
      await isKept("/a?x=1");
      expect(await isKept("/a?x=1")).to.equal(true);
      await post("/a?x=1", status, method);
      expect(await isKept("/a?x=1"), `${method} ${status}`).to.equal(!ends);
    }
    for (const path of ["/a?x=1", "/b", "/c"]) await isKept(path);
    await post("/names");
    expect([await isKept("/a?x=1"), await isKept("/b"), await isKept("/c")]).to.deep.equal([false, false, true]);
  });

  it("ends with a successful unsafe request whose client has left before the answer", async () => {
    for (const [status, ends] of [
      [204, true],
      [422, false],
    ] as const) {
      const gate = latch();
      const left = latch();
      let done = 0;
      const app = await serveCached(start, async ({ method, response }) => {
        if (method === "GET") return { headers: fresh, body: `after ${done}` };
        response.once("close", () => left.open());
        await gate.opened;
        done += 1;
        return { status };
      });
      expect((await send(`${app.url}/a`)).text).to.equal("after 0");
      const leaving = new Agent({ keepAlive: true });
      const gone = send(`${app.url}/a`, { method: "POST", agent: leaving }).catch(() => "gone");
      await until(() => app.calls() === 2);
      leaving.destroy();
      expect(await gone).to.equal("gone");
      await left.opened;
      gate.open();
      await until(() => done === 1);
      const text = async (): Promise<string> => (await send(`${app.url}/a`)).text;
      if (ends) await until(async () => (await text()) === "after 1");
      else expect(await text()).to.equal("after 0");
    }
  });

  it("ends by its tags and by its path, also while it is being made", async () => {
    let gate = latch();
    gate.open();
    const app = await serveCached(
      start,
      async () => {
        const text = `${app.calls()}`;
        await gate.opened;
        return { headers: fresh, body: text };
      },
      { tags: ((raw: { url: string }) => ["all", raw.url]) as never },
    );
    const read = async (path: string) => (await send(app.url + path)).text;
    expect([await read("/a"), await read("/b"), await read("/a")]).to.deep.equal(["1", "2", "1"]);
    await app.gate.responses.purge("/a");
    expect([await read("/a"), await read("/b")]).to.deep.equal(["3", "2"]);
    await app.gate.responses.purge("all");
    expect([await read("/a"), await read("/b")]).to.deep.equal(["4", "5"]);
    // A tag is one for responses and for values.
    await app.gate.cache.set("value", 1, { tags: ["all"] });
    await app.gate.responses.purge("all");
    expect(await app.gate.cache.get("value")).to.equal(undefined);
    expect(await read("/b")).to.equal("6");
    await app.gate.cache.deleteByTag("all");
    expect(await read("/b")).to.equal("7");
    await app.gate.responses.purgePath("/a");
    gate = latch();
    const making = read("/a");
    await until(() => app.calls() === 8);
    await app.gate.responses.purge("all");
    const later = read("/a");
    await until(() => app.calls() === 8);
    gate.open();
    expect(await making).to.equal("8");
    expect(await later).to.equal("9");
    expect(await read("/a")).to.equal("9");
  });
});
