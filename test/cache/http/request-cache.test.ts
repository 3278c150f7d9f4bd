import { expect } from "chai";
import { signToken } from "@portcullis/testkit";
import { describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import { send } from "../../support/http.js";

withNodeAdapter(describeOnEveryGate)("the request cache", (start) => {
  it("reads a key once in one request, keeps values between requests, and keeps users apart", async () => {
    let made = 0;
    const { url } = await start(
      {},
      {
        routes: {
          "GET /twice": async ({ cache }) => {
            const make = () => ({ made: (made += 1) });
            const values = await Promise.all([cache.getOrSet({ key: "k" }, make), cache.getOrSet({ key: "k" }, make)]);
            return { same: values[0] === values[1], made: values[0].made };
          },
          "GET /mine": async ({ auth, cache }) => cache.forUser().getOrSet({ key: "k" }, () => ({ of: auth?.subject })),
        },
      },
    );
    const token = await signToken({ sub: "alice" });
    expect((await send(`${url}/twice`, { token })).json).to.deep.equal({ same: true, made: 1 });
    expect((await send(`${url}/twice`, { token })).json).to.deep.equal({ same: true, made: 1 });
    for (const sub of ["alice", "bob", "alice", "bob"]) {
      expect((await send(`${url}/mine`, { token: await signToken({ sub }) })).json).to.deep.equal({ of: sub });
    }
  });

  it("has all its verbs", async () => {
    const { url } = await start(
      {},
      {
        routes: {
          "GET /verbs": async ({ cache }) => {
            const ns = cache.namespace("n");
            await cache.set("a", 1, { ttl: "1m" });
            await cache.setMany([
              ["b", [2]],
              ["c", null],
            ]);
            await ns.set("a", "other");
            const before = await cache.getMany(["a", "b", "c", "d"]);
            await cache.delete("a");
            return [before, await cache.get("a"), await cache.has("b"), await cache.has("a"), await ns.get("a")].map(
              (value) => (value === undefined ? "none" : value),
            );
          },
          "GET /after": async ({ cache }) => [(await cache.get("a")) ?? "none", await cache.get("b")],
        },
      },
    );
    const token = await signToken();
    expect((await send(`${url}/verbs`, { token })).json).to.deep.equal([
      [1, [2], null, null],
      "none",
      true,
      false,
      "other",
    ]);
    expect((await send(`${url}/after`, { token })).json).to.deep.equal(["none", [2]]);
  });
});
