import { signToken } from "@portcullis/testkit";
import { expect } from "chai";
import type { IdempotencyOptions } from "@portcullis/core";
import type { AnyMiddleware, RunningApp, TestApp } from "../../support/app.js";
import { describeOnEveryFramework, describeOnEveryGate, withNodeAdapter } from "../../support/every-gate.js";
import type { StartApp } from "../../support/every-gate.js";
import { hostileIdentifiers } from "../../support/hostile.js";
import { send } from "../../support/http.js";
import type { SendOptions, TestAnswer } from "../../support/http.js";
import { openLatch } from "../../support/latch.js";

interface Shop {
  readonly app: RunningApp;
  /** The orders that were made, in turn. */
  readonly made: unknown[];
  readonly order: (key: string | undefined, rest?: SendOptions & { readonly path?: string }) => Promise<TestAnswer>;
}

interface ShopOptions {
  readonly idempotency?: IdempotencyOptions;
  readonly routes?: TestApp["routes"];
  readonly front?: (gate: RunningApp["gate"]) => AnyMiddleware[];
}

const alice = await signToken({ sub: "alice" });
const bob = await signToken({ sub: "bob" });

async function open(start: StartApp, { idempotency, routes, front }: ShopOptions = {}): Promise<Shop> {
  const made: unknown[] = [];
  const make = (): object => {
    made.push(made.length + 1);
    return { order: made.length };
  };
  const app = await start(
    {},
    {
      use: (gate) => [gate.guard(), ...(front?.(gate) ?? []), gate.idempotency(idempotency)],
      routes: {
        "POST /orders": make,
        "POST /other": make,
        "PATCH /orders": make,
        "PUT /orders": make,
        "DELETE /orders": make,
        "GET /orders": make,
        ...routes,
      },
    },
  );
  return {
    app,
    made,
    order: (key, { path = "/orders", ...rest } = {}) =>
      send(`${app.url}${path}`, {
        method: "POST",
        token: alice,
        ...rest,
        headers: { ...(key === undefined ? {} : { "idempotency-key": key }), ...rest.headers },
      }),
  };
}

/** Throws an error with a status, as Express and Koa both answer. */
function fail(status: number): never {
  throw Object.assign(new Error("refused"), { status });
}

withNodeAdapter(describeOnEveryGate)("requests with an Idempotency-Key", (start) => {
  it("are executed once, and a retry gets the same status, fields and body", async () => {
    const { made, order } = await open(start);
    const first = await order('"one"', { body: "lantern" });
    const second = await order('"one"', { body: "lantern" });
    expect(first.json).to.deep.equal({ order: 1 });
    expect(first.headers["idempotency-replayed"]).to.equal(undefined);
    expect(second.headers["idempotency-replayed"]).to.equal("?1");
    expect([second.status, second.text]).to.deep.equal([first.status, first.text]);
    for (const name of ["content-type", "content-length", "etag"])
      expect(second.headers[name], name).to.equal(first.headers[name]);
    expect(made).to.have.length(1);
    expect((await order('"two"', { body: "lantern" })).json).to.deep.equal({ order: 2 });
  });

  it("have one key with and without quotes, and escapes are read", async () => {
    const { made, order } = await open(start);
    await order('"k-1"');
    expect((await order("k-1")).headers["idempotency-replayed"]).to.equal("?1");
    expect((await order('"k-1";v=1')).headers["idempotency-replayed"]).to.equal("?1");
    expect((await order('"k\\"1"')).headers["idempotency-replayed"]).to.equal(undefined);
    expect(made).to.have.length(2);
  });

  it("are a caller's own: the same key of another user, path or method is another request", async () => {
    const { made, order } = await open(start);
    await order("k");
    for (const rest of [{ token: bob }, { path: "/other" }, { method: "PATCH" }]) {
      const answer = await order("k", rest);
      expect([answer.status, answer.headers["idempotency-replayed"]]).to.deep.equal([200, undefined]);
    }
    expect(made).to.have.length(4);
  });

  it("are refused with 422 where the query, the media type or the body is another", async () => {
    const { made, order } = await open(start);
    const type = { "content-type": "text/plain" };
    await order("k", { body: "lantern", headers: type });
    for (const rest of [
      { body: "rope", headers: type },
      { headers: type },
      { body: "lantern", headers: { "content-type": "text/html" } },
      { body: "lantern", headers: type, path: "/orders?gift=1" },
    ]) {
      const { status, json } = await order("k", rest);
      expect(status).to.equal(422);
      expect(json).to.include({ code: "idempotency_mismatch" });
    }
    expect(made).to.have.length(1);
  });

  it("get 409 with Retry-After while the first one runs", async () => {
    const latch = openLatch();
    const { order } = await open(start, { routes: { "POST /slow": latch.wait } });
    const first = order("k", { path: "/slow" });
    await latch.waiting(1);
    const second = await order("k", { path: "/slow" });
    expect([second.status, second.headers["retry-after"]]).to.deep.equal([409, "1"]);
    expect(second.json).to.include({ code: "idempotency_conflict" });
    latch.open();
    expect((await first).status).to.equal(200);
    expect((await order("k", { path: "/slow" })).headers["idempotency-replayed"]).to.equal("?1");
  });

  it("wait for the first one, where the option says so, and get its response", async () => {
    const latch = openLatch();
    const idempotency = { onConflict: "wait", wait: "20s" } as const;
    const { order } = await open(start, { idempotency, routes: { "POST /slow": latch.wait } });
    const all = Array.from({ length: 10 }, () => order("k", { path: "/slow" }));
    await latch.waiting(1);
    latch.open();
    const answers = await Promise.all(all);
    expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).to.equal(1);
    expect(answers.filter(({ headers }) => headers["idempotency-replayed"] === "?1")).to.have.length(9);
    expect(latch.held()).to.equal(1);
  });

  it("run again after a response that the next attempt may not get", async () => {
    let calls = 0;
    const { order } = await open(start, {
      routes: {
        "POST /fails": () => {
          calls += 1;
          fail(503);
        },
        "POST /refuses": () => {
          calls += 1;
          fail(403);
        },
      },
    });
    for (const [path, status] of [
      ["/fails", 503],
      ["/refuses", 403],
    ] as const) {
      const before = calls;
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const answer = await order("k", { path });
        expect([answer.status, answer.headers["idempotency-replayed"]]).to.deep.equal([status, undefined]);
      }
      expect(calls - before, path).to.equal(2);
    }
  });
});

describeOnEveryFramework("the Idempotency-Key middleware", (start) => {
  it("lets requests without a key pass, or refuses them with 400 where it is required", async () => {
    const optional = await open(start);
    await optional.order(undefined);
    await optional.order(undefined);
    expect(optional.made).to.have.length(2);
    const required = await open(start, { idempotency: { required: true } });
    const { status, json } = await required.order(undefined);
    expect([status, required.made.length]).to.deep.equal([400, 0]);
    expect(json).to.include({ code: "idempotency_key_missing" });
  });

  it("does not touch other methods", async () => {
    const { made, order } = await open(start, { idempotency: { required: true } });
    for (const method of ["GET", "PUT", "DELETE"]) {
      for (let count = 0; count < 2; count += 1) {
        const { status, headers } = await order("k", { method });
        expect([status, headers["idempotency-replayed"]], method).to.deep.equal([200, undefined]);
      }
    }
    expect(made).to.have.length(6);
  });

  it("refuses keys that are no text of 1 to 255 characters with 400", async () => {
    const { made, order } = await open(start);
    const wrong = ["", '""', " ", '"', '"a', 'a"b', "a,b", '"a", "b"', "a b", "x".repeat(256), `"${"x".repeat(300)}"`];
    for (const key of [...wrong, "x".repeat(5000), "\xe9", '"a\\b"', "a\tb"]) {
      const { status, json } = await order(key);
      expect([status, (json as { code: string }).code], key).to.deep.equal([400, "idempotency_key_invalid"]);
    }
    expect(made).to.have.length(0);
    expect((await order("x".repeat(255))).status).to.equal(200);
  });

  it("refuses callers who are not known with 401, also where the key is right", async () => {
    const made: unknown[] = [];
    const anonymous = await start(
      {},
      {
        use: (gate) => [gate.guard({ optional: true }), gate.idempotency()],
        routes: { "POST /orders": () => made.push(0) },
      },
    );
    const answer = await send(`${anonymous.url}/orders`, { method: "POST", headers: { "idempotency-key": "k" } });
    expect([answer.status, made.length]).to.deep.equal([401, 0]);
  });

  it("never answers one user with the response to another, however they are called", async () => {
    const { made, app } = await open(start);
    const names = hostileIdentifiers.filter((name) => name.isWellFormed() && name.trim() !== "").slice(0, 60);
    for (const [index, name] of names.entries()) {
      const token = await signToken({ sub: name });
      const { json, headers } = await send(`${app.url}/orders`, {
        ...{ method: "POST", token, headers: { "idempotency-key": "same" } },
      });
      expect([json, headers["idempotency-replayed"]], JSON.stringify(name)).to.deep.equal([
        { order: index + 1 },
        undefined,
      ]);
    }
    expect(made).to.have.length(names.length);
  });

  it("refuses a body of more than 1 MiB with 413", async () => {
    const { made, order } = await open(start);
    const { status, json } = await order("k", { body: "x".repeat(1_048_577) });
    expect([status, made.length]).to.deep.equal([413, 0]);
    expect(json).to.include({ code: "content_too_large" });
    expect((await order("k2", { body: "x".repeat(1_048_576) })).status).to.equal(200);
  });

  it("stores only the completion of a large response, and a retry gets 409 with its own text", async () => {
    let calls = 0;
    const large = (): object => {
      calls += 1;
      return { text: "x".repeat(2000) };
    };
    const { order } = await open(start, { idempotency: { maxResponse: 1000 }, routes: { "POST /large": large } });
    expect((await order("k", { path: "/large" })).status).to.equal(200);
    const { status, json } = await order("k", { path: "/large" });
    expect([status, calls]).to.deep.equal([409, 1]);
    expect(json).to.include({ code: "idempotency_completed" });
  });

  it("applies once to a request that passes it twice", async () => {
    const { made, order } = await open(start, { front: (gate) => [gate.idempotency()] });
    expect((await order("k")).json).to.deep.equal({ order: 1 });
    expect((await order("k")).headers["idempotency-replayed"]).to.equal("?1");
    expect(made).to.have.length(1);
  });

  it("takes the caller from a function, apart from users of tokens with the same name", async () => {
    const caller = (raw: { readonly headers: Readonly<Record<string, unknown>> }): string | undefined =>
      raw.headers["x-tenant"] as string | undefined;
    const { order, app } = await open(start, { idempotency: { caller: caller as never } });
    await order("k", { headers: { "x-tenant": "acme" } });
    const same = await order("k", { token: bob, headers: { "x-tenant": "acme" } });
    expect(same.headers["idempotency-replayed"]).to.equal("?1");
    const other = await order("k", { headers: { "x-tenant": "other" } });
    expect(other.headers["idempotency-replayed"]).to.equal(undefined);
    expect((await order("k")).status).to.equal(401);
    const metric = app.gate.metrics().find(({ name }) => name === "portcullis_idempotency_total");
    const counts: Record<string, number> = {};
    for (const { labels, value } of metric?.samples ?? []) counts[labels.outcome ?? ""] = value;
    expect(counts).to.deep.equal({ executed: 2, stored: 2, replayed: 1, refused: 1 });
  });
});
