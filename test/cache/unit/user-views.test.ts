import { expect } from "chai";
import { rejectionOf } from "../../support/rejection.js";
import { openProcess } from "../support/cache-process.js";

describe("1000 interleaved requests of two users", () => {
  for (const [name, options] of [
    ["without a tier in process", {}],
    ["with one", { local: { ttl: "1m" } }],
  ] as const) {
    it(`see no value of the other's, ${name}`, async () => {
      const { request } = openProcess(undefined, options);
      const answers = await Promise.all(
        Array.from({ length: 1000 }, async (_, index) => {
          const user = index % 2 === 0 ? "alice" : "bob";
          const cache = request(user).forUser();
          const key = `k${index % 7}`;
          const made = await cache.getOrSet({ key, tags: ["t"] }, async () => {
            await new Promise((resolve) => setImmediate(resolve));
            return { of: user };
          });
          if (index % 50 === 0) await cache.delete(key);
          if (index % 70 === 0) await cache.set(key, { of: user });
          const read = await cache.get<{ of: string }>(key);
          return [made.of, read?.of ?? user].every((of) => of === user);
        }),
      );
      expect(answers.every(Boolean)).to.equal(true);
    });
  }
});

describe("a view of a tenant", () => {
  it("is that of all users of the tenant, and of no other's", async () => {
    const { request, cache } = openProcess(undefined, { tenantClaim: "sub" });
    await request("acme").forTenant().set("k", "of acme");
    await request("acme").forUser().set("k", "of the user");
    expect(await request("acme").forTenant().get("k")).to.equal("of acme");
    expect(await cache.forTenant("acme").get("k")).to.equal("of acme");
    expect(await cache.forUser("acme").get("k")).to.equal("of the user");
    expect(await request("other").forTenant().get("k")).to.equal(undefined);
    expect(await request().get("k")).to.equal(undefined);
  });

  it("throws if there is none", () => {
    expect(() => openProcess().request("acme").forTenant()).to.throw(/tenantClaim/);
    const { request, cache } = openProcess(undefined, { tenantClaim: "org.id" });
    expect(() => request("acme").forTenant()).to.throw(/tenantClaim/);
    expect(() => request().forTenant()).to.throw(/signed-in/);
    expect(() => cache.forUser("")).to.throw(/signed-in/);
  });
});

describe("the warning of shared values", () => {
  function openWarned() {
    const warnings: { fields: Record<string, unknown>; message: string }[] = [];
    const warn = (fields: object, message: string): void =>
      void warnings.push({ fields: fields as Record<string, unknown>, message });
    return { ...openProcess(undefined, {}, { debug: () => undefined, warn }), warnings };
  }

  it("is logged for writes in requests of signed-in users, once for each kind of key", async () => {
    const { request, warnings } = openWarned();
    await request("alice-1").set("profile:1", { a: 1 });
    await request("alice-1").set("profile:2", { a: 1 });
    await request("bob-1").getOrSet({ key: "profile:3" }, () => ({ a: 1 }));
    await request("bob-1").getOrSet({ key: "orders" }, () => ({ a: 1 }));
    expect(warnings.map(({ message }) => message)).to.have.length(2);
    expect(JSON.stringify(warnings)).not.to.match(/alice-1|bob-1|profile:|orders/);
  });

  it("reports that the value names the user", async () => {
    const { request, warnings } = openWarned();
    await request("alice-1").set("me", { id: "alice-1" });
    expect(warnings[0]?.fields).to.include({ namesUser: true });
  });

  it("is not logged if the key, the view or the code names the user of the value", async () => {
    const { request, warnings } = openWarned();
    await request("alice-1").set("orders:alice-1", 1);
    await request("alice-1").forUser().set("orders", 1);
    await request("alice-1").set("rates", 1, { shared: true });
    await request("alice-1").getOrSet({ key: "rates", shared: true }, () => 1);
    await request().set("news", 1);
    expect(warnings).to.have.length(0);
  });

  it("is limited in number, and silent in production", async () => {
    const { request, warnings } = openWarned();
    for (let index = 0; index < 200; index += 1) {
      const name = `k${String.fromCharCode(97 + (index % 26))}${"x".repeat(Math.floor(index / 26))}`;
      await request("alice-1").set(name, 1);
    }
    expect(warnings.length).to.be.within(2, 20);
    const before = process.env.NODE_ENV;
    process.env.NODE_ENV = "production";
    try {
      const silent = openWarned();
      await silent.request("alice-1").set("k", 1);
      expect(silent.warnings).to.have.length(0);
    } finally {
      if (before === undefined) delete process.env.NODE_ENV;
      else process.env.NODE_ENV = before;
    }
  });
});

describe("the size of a value", () => {
  it("is limited: set throws a RangeError, getOrSet returns the value and warns once", async () => {
    const warnings: string[] = [];
    const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void warnings.push(message) };
    const { request, store } = openProcess(undefined, { maxValueSize: 100 }, logger);
    const long = "x".repeat(99);
    expect(await rejectionOf(request().set("k", long)))
      .to.be.instanceOf(RangeError)
      .and.to.include({ code: "cache_value_too_large" });
    for (const key of ["a", "b"]) expect(await request().getOrSet({ key }, () => long)).to.equal(long);
    expect([store.written.length, warnings.length]).to.deep.equal([0, 1]);
    await request().set("k", "x".repeat(98));
    expect(store.written).to.have.length(1);
  });
});
