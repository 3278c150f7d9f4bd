import { expect } from "chai";
import type { Auth } from "@portcullis/core";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import type { RunningApp } from "../../support/app.js";
import { send } from "../../support/http.js";

for (const adapter of adapters) {
  describe(`access tokens on ${adapter.name}`, () => {
    const running: RunningApp[] = [];
    afterEach(async () => {
      for (const app of running.splice(0)) await app.close();
    });

    async function start(auth: object): Promise<RunningApp> {
      const app = await adapter.start({
        options: { redis: "memory", auth: { ...testAuth, ...auth } },
        routes: { "GET /me": () => "ok" },
      });
      running.push(app);
      return app;
    }

    const status = async ({ url }: RunningApp, claims: Record<string, unknown>, header: Record<string, unknown> = {}) =>
      (await send(`${url}/me`, { token: await signToken(claims, header) })).status;

    it("must follow RFC 9068 where that is asked for", async () => {
      const app = await start({ strict: true });
      const claims = { client_id: "app" };
      for (const typ of ["at+jwt", "AT+JWT", "application/at+jwt"])
        expect(await status(app, claims, { typ })).to.equal(200);
      for (const typ of ["JWT", "at+jwt2", ""]) expect(await status(app, claims, { typ }), typ).to.equal(401);
      expect(await status(app, claims)).to.equal(401);
      for (const missing of ["client_id", "sub", "iat", "jti"]) {
        expect(await status(app, { ...claims, [missing]: undefined }, { typ: "at+jwt" }), missing).to.equal(401);
      }
    });

    it("must stand the application's own test, which is asked once for each token", async () => {
      const asked: string[] = [];
      const app = await start({
        validate: async ({ subject }: Auth) => {
          asked.push(subject);
          await Promise.resolve();
          return subject === "alice" ? true : (subject as unknown as boolean);
        },
      });
      const token = await signToken({ sub: "alice" });
      await Promise.all(Array.from({ length: 20 }, () => send(`${app.url}/me`, { token })));
      expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
      expect(asked).to.deep.equal(["alice"]);
      expect(await status(app, { sub: "bob" })).to.equal(401);
    });

    it("are not refused by a bug in that test: it is answered as a bug", async () => {
      const app = await start({
        validate: () => {
          throw new Error("a bug of the application");
        },
      });
      expect(await status(app, {})).to.equal(500);
    });
  });
}

describe("access tokens on any framework", () => {
  it("must not be older than allowed, at every request", async () => {
    const options = { redis: "memory", auth: { ...testAuth, maxTokenAge: "2s" } } as const;
    const apps = await Promise.all(
      adapters.map((adapter) => adapter.start({ options, routes: { "GET /me": () => "ok" } })),
    );
    const statuses = (token: string): Promise<number[]> =>
      Promise.all(apps.map(async ({ url }) => (await send(`${url}/me`, { token })).status));
    for (const iat of [nowSeconds() - 60, undefined])
      expect(await statuses(await signToken({ iat }))).to.deep.equal([401, 401]);
    const token = await signToken({ iat: nowSeconds() });
    expect(await statuses(token)).to.deep.equal([200, 200]);
    await new Promise((resolve) => setTimeout(resolve, 3100));
    expect(await statuses(token)).to.deep.equal([401, 401]);
  });
});
