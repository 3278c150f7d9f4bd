import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ExpressGate } from "@portcullis/express";
import { testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import type { Express } from "express";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import type { TestAnswer } from "../support/http.js";
import type { Programs } from "./programs.js";
import { openPrograms, withEnvironment } from "./programs.js";

/** A program in docs/migrate-sessions.md. */
interface Program {
  readonly app: Express;
  readonly gate: ExpressGate;
}

/** Imported without its types, which bring those of browsers along. */
const authJs: string = "@auth/core/jwt";
interface AuthJs {
  readonly encode: (options: { token: object; secret: string; salt: string }) => Promise<string>;
}

const authSecret = "the secret of Auth.js in this test";
const environment = {
  ...{ NODE_ENV: undefined, SIGNING_KEY: testSecret, AUTH_SECRET: authSecret },
  SESSION_SECRET: "the secret of express-session in this test",
};

/** A browser: it keeps cookies, and says that its page has the origin of the service. */
interface Browser {
  ask(method: string, path: string, body?: unknown): Promise<TestAnswer>;
  readonly cookies: Map<string, string>;
}

describe("the programs in docs/migrate-sessions.md", function () {
  this.timeout(30_000);
  const opened: Programs[] = [];

  after(async () => {
    for (const programs of opened) await programs.remove();
  });

  /** Runs a program, each time anew. */
  async function run(text: string): Promise<{ program: Program; url: string }> {
    const checkPassword = (name: unknown, password: unknown): Promise<string | undefined> =>
      Promise.resolve(password === "right" ? String(name) : undefined);
    const programs = await openPrograms("docs/migrate-sessions.md", { "app.ts": text }, { checkPassword });
    opened.push(programs);
    const variables = { ...environment, REDIS_URL: "memory" };
    const program = await withEnvironment(variables, () => programs.load<Program>("app.ts"));
    program.app.set("env", "test");
    const server = createServer(program.app);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanUp(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await program.gate.close();
    });
    return { program, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  }

  function openBrowser(url: string): Browser {
    const cookies = new Map<string, string>();
    return {
      cookies,
      async ask(method, path, body) {
        const cookie = Array.from(cookies, ([name, value]) => `${name}=${value}`).join("; ");
        const answer = await send(url + path, {
          method,
          from: "203.0.113.7",
          headers: {
            "x-forwarded-proto": "https",
            "sec-fetch-site": "same-origin",
            ...(cookie === "" ? {} : { cookie }),
            ...(body === undefined ? {} : { "content-type": "application/json" }),
          },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        for (const line of [answer.headers["set-cookie"] ?? []].flat()) {
          const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
          if (value === "" || /max-age=0/i.test(line)) cookies.delete(name);
          else cookies.set(name, value);
        }
        return answer;
      },
    };
  }

  describe("passport and express-session, beside the gate:", () => {
    const program = "app.use(passport.session());";
    const alice = { name: "alice", password: "right" };

    it("users of both systems are signed in, and strangers are not", async () => {
      const { url } = await run(program);
      const [old, recent, stranger] = [openBrowser(url), openBrowser(url), openBrowser(url)];
      expect((await old.ask("POST", "/login", alice)).status).to.equal(204);
      expect((await recent.ask("POST", "/auth/login", alice)).status).to.equal(204);
      expect([...old.cookies.keys()]).to.deep.equal(["connect.sid"]);
      expect([...recent.cookies.keys()]).to.have.members(["__Host-access", "__Secure-refresh"]);
      for (const browser of [old, recent])
        expect((await browser.ask("GET", "/me")).json).to.deep.equal({ user: alice.name });
      for (const path of ["/login", "/auth/login"])
        expect((await stranger.ask("POST", path, { ...alice, password: "wrong" })).status).to.equal(401);
      expect((await stranger.ask("GET", "/me")).status).to.equal(401);
    });

    it("an old session is exchanged for tokens, once, and ends then", async () => {
      const { url } = await run(program);
      const browser = openBrowser(url);
      await browser.ask("POST", "/login", alice);
      const session = browser.cookies.get("connect.sid") ?? "";
      expect((await browser.ask("POST", "/auth/exchange")).status).to.equal(204);
      expect([...browser.cookies.keys()]).to.include.members(["__Host-access", "__Secure-refresh"]);
      browser.cookies.delete("connect.sid");
      expect((await browser.ask("GET", "/me")).json).to.deep.equal({ user: alice.name });
      const thief = openBrowser(url);
      thief.cookies.set("connect.sid", session);
      expect((await thief.ask("GET", "/me")).status).to.equal(401);
      expect((await thief.ask("POST", "/auth/exchange")).status).to.equal(401);
    });

    it("each logout ends its own session, and a logout everywhere ends those of both systems", async () => {
      const { program: running, url } = await run(program);
      const [one, two, three, four] = [openBrowser(url), openBrowser(url), openBrowser(url), openBrowser(url)];
      for (const browser of [one, two]) await browser.ask("POST", "/login", alice);
      for (const browser of [three, four]) await browser.ask("POST", "/auth/login", alice);
      for (const browser of [one, three]) expect((await browser.ask("POST", "/logout")).status).to.equal(204);
      const statuses = async (): Promise<number[]> =>
        Promise.all([one, two, three, four].map(async (browser) => (await browser.ask("GET", "/me")).status));
      expect(await statuses()).to.deep.equal([401, 200, 401, 200]);
      expect((await four.ask("POST", "/logout-everywhere")).status).to.equal(204);
      expect(await statuses()).to.deep.equal([401, 401, 401, 401]);
      expect(await running.gate.sessions.list(alice.name)).to.deep.equal([]);
    });
  });

  describe("Auth.js, beside the gate:", () => {
    const program = 'import { getToken } from "@auth/core/jwt";';
    const name = "__Secure-authjs.session-token";

    it("a session of Auth.js is exchanged for tokens, and nothing else is", async () => {
      const { url } = await run(program);
      const { encode } = (await import(authJs)) as AuthJs;
      const browser = openBrowser(url);
      const token = { sub: "dora", name: "Dora" };
      browser.cookies.set(name, await encode({ token, secret: authSecret, salt: name }));
      expect((await browser.ask("GET", "/me")).status, "its cookie alone").to.equal(401);
      expect((await browser.ask("POST", "/auth/exchange")).status).to.equal(204);
      expect((await browser.ask("GET", "/me")).json).to.deep.equal({ user: "dora" });
      for (const foreign of [await encode({ token, secret: "another secret", salt: name }), "a.b.c", ""]) {
        const stranger = openBrowser(url);
        stranger.cookies.set(name, foreign);
        expect((await stranger.ask("POST", "/auth/exchange")).status).to.equal(401);
      }
    });
  });
});
