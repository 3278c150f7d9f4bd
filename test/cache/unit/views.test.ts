import { inspect } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import type { RequestCache } from "../../../packages/core/src/index.js";
import { openProcess } from "../support/cache-process.js";
import { identifiers } from "../../support/identifiers.js";

/** A view of the cache, as an application gets at it. */
interface View {
  readonly user: string | undefined;
  readonly path: readonly string[];
  /** After how many namespaces forUser() is called. */
  readonly at: number;
  readonly key: string;
}

function open(request: (principal?: string) => RequestCache, { user, path, at }: View): RequestCache {
  let cache = request(user);
  path.forEach((name, index) => {
    if (user !== undefined && index === at % (path.length + 1)) cache = cache.forUser();
    cache = cache.namespace(name);
  });
  return user !== undefined && at % (path.length + 1) === path.length ? cache.forUser() : cache;
}

const hostile = [
  "a",
  "b",
  "a:b",
  "shared",
  "user:a",
  "default",
  "~a",
  "{1}",
  "a.b",
  "__proto__",
  "\ud800",
  "\udfff",
  " a",
  "A",
];
const view: fc.Arbitrary<View> = fc.record({
  user: fc.option(fc.constantFrom(...hostile), { nil: undefined }),
  path: fc.array(fc.constantFrom("a", "b", "a-b", "a_b", "shared", "user", "1"), { maxLength: 3 }),
  at: fc.nat({ max: 3 }),
  key: fc.constantFrom(...hostile, "k"),
});

describe("two views of the cache", () => {
  it("never share an entry unless they are of one user and one namespace", async () => {
    await fc.assert(
      fc.asyncProperty(view, view, async (one, other) => {
        const same = one.user === other.user && one.key === other.key && one.path.join("/") === other.path.join("/");
        const { request } = openProcess();
        await open(request, one).set(one.key, "of the one");
        expect(await open(request, other).get(other.key)).to.equal(same ? "of the one" : undefined);
      }),
      { numRuns: 200 },
    );
  });

  for (const path of [["default"], ["default", "a"], ["default", "default"], ["a", "default"]]) {
    it(`differ: namespace ${path.join(" and ")} is not the one with that name left out`, async () => {
      const { request } = openProcess();
      const left = path.filter((name) => name !== "default");
      await open(request, { user: undefined, path, at: 0, key: "k" }).set("k", "inner");
      expect(await open(request, { user: undefined, path: left, at: 0, key: "k" }).get("k")).to.equal(undefined);
    });
  }

  it("of one request have separate memos", async () => {
    const { request } = openProcess();
    const cache = request("alice");
    await cache.set("k", "shared");
    await cache.forUser().set("k", "alice's");
    await cache.namespace("n").set("k", "named");
    expect(await Promise.all([cache.get("k"), cache.forUser().get("k"), cache.namespace("n").get("k")])).to.deep.equal([
      "shared",
      "alice's",
      "named",
    ]);
  });

  it("of one user and namespace are one, in whichever order they were opened", async () => {
    const { store, request } = openProcess();
    const cache = request("alice");
    await cache.forUser().namespace("n").get("k");
    await cache.namespace("n").forUser().get("k");
    expect(store.reads).to.have.length(1);
  });
});

describe("two users", () => {
  it("never see each other's entries, whatever they are called", async () => {
    const { request } = openProcess();
    const names = identifiers.filter((name) => name.length < 2000);
    for (const name of names) await request(name).forUser().set("k", name);
    for (const name of names) expect(await request(name).forUser().get("k")).to.equal(name);
    expect(await request().get("k")).to.equal(undefined);
  });

  it("with a thousand requests side by side see nothing but their own", async () => {
    const { request } = openProcess();
    await Promise.all(
      Array.from({ length: 1000 }, async (_, index) => {
        const name = index % 2 === 0 ? "alice" : "bob";
        const cache = request(name).forUser();
        const key = `k${index % 7}`;
        const made = await cache.getOrSet({ key }, async () => Promise.resolve(`${name}'s ${key}`));
        expect(made).to.equal(`${name}'s ${key}`);
        if (index % 5 === 0) await cache.set(key, `${name}'s ${key}`);
        if (index % 11 === 0) await cache.delete(key);
        expect([`${name}'s ${key}`, undefined]).to.include(await cache.get(key));
      }),
    );
  });
});

describe("a view of a user", () => {
  it("is refused for an anonymous request, and for a token that names no user", () => {
    const { request } = openProcess();
    expect(() => request().forUser()).to.throw(Error, "signed-in user");
    expect(() => request("").forUser()).to.throw(Error, "signed-in user");
    expect(() => request().namespace("a").forUser()).to.throw(Error, "signed-in user");
  });
});

describe("a namespace", () => {
  it("is 1 to 64 letters, digits, _ and -", () => {
    const cache = openProcess().request();
    for (const name of ["a", "A-1_b", "n".repeat(64), "0", "-"]) expect(() => cache.namespace(name)).not.to.throw();
    for (const name of ["", "a.b", "a:b", "a b", "{a}", "n".repeat(65), "a\n", "\u00e9", "*", "../a"])
      expect(() => cache.namespace(name), name).to.throw(TypeError);
  });

  it("must be text: another value would be one namespace for all users without one", () => {
    for (const name of [undefined, null, 5, true, ["a"], { toString: () => "a" }]) {
      expect(
        () =>
          openProcess()
            .request()
            .namespace(name as never),
        inspect(name),
      ).to.throw(TypeError);
    }
  });
});
