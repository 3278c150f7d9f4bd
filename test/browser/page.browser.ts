import { randomBytes } from "node:crypto";
import { startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { Browser, Page } from "playwright-core";
import { until } from "../support/until.js";
import { contrasts } from "./support/contrast.js";
import { findViolations } from "./support/axe.js";
import {
  enterAs,
  isOrder,
  meet,
  openBrowser,
  phone,
  placeOrder,
  seeLive,
  seeOrder,
  seeSessions,
  seeTheEnd,
  signIn,
  signOut,
  take,
} from "./support/browser.js";
import type { Person } from "./support/browser.js";
import { startExample } from "./support/example.js";
import type { RunningExample } from "./support/example.js";

/** Both have the same page: what does not depend on the service is tried on the first. */
const examples = ["express-api", "koa-api"];

for (const name of examples) {
  describe(`the page of ${name}`, function () {
    this.timeout(60_000);
    const secret = randomBytes(32).toString("hex");
    const people: Person[] = [];
    const cleanUp: (() => unknown)[] = [];
    let browser: Browser;
    let server: RedisServer;
    let example: RunningExample;

    before(async () => {
      browser = await openBrowser();
      cleanUp.push(() => browser.close());
      server = await startRedis();
      cleanUp.push(() => server.stop());
      example = await startExample(name, { redis: server.url, secret });
      cleanUp.push(() => example.stop());
    });
    after(async () => {
      for (const clean of cleanUp.splice(0).reverse()) await clean();
    });
    afterEach(async function () {
      const complaints = people.flatMap((person) => person.complaints);
      for (const { context } of people.splice(0)) await context.close();
      // A test that has failed leaves no session to the next one.
      if (this.currentTest?.state === "failed") await Promise.all((["alice", "admin"] as const).map(signOutEverywhere));
      expect(complaints).to.deep.equal([]);
    });

    async function signOutEverywhere(username: "alice" | "admin"): Promise<void> {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ username, password: example.password(username) });
      const signedIn = await fetch(`${example.url}/login`, { method: "POST", headers, body });
      const { access_token: token } = (await signedIn.json()) as { access_token: string };
      const authorization = { authorization: `Bearer ${token}` };
      await fetch(`${example.url}/logout/everywhere`, { method: "POST", headers: authorization });
    }

    const someone = async (options = {}): Promise<Person> => {
      const person = await meet(browser, example.url, options);
      people.push(person);
      return person;
    };
    const enter = async (person: Person, user: "alice" | "admin" = "alice"): Promise<Page> => {
      const page = await person.open();
      await enterAs(page, user, example.password(user));
      return page;
    };

    it("puts no error on the console from the first visit to the last, and has an icon", async () => {
      // A Redis of a busy machine may once be too slow, and then an answer is 503.
      const inProcess = await startExample(name, { redis: undefined, secret });
      cleanUp.push(() => inProcess.stop());
      const person = await meet(browser, inProcess.url);
      people.push(person);
      const page = await person.open();
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      const icon = await page.locator("link[rel=icon]").getAttribute("href");
      const response = await fetch(new URL(icon ?? "", inProcess.url));
      expect([response.status, response.headers.get("content-type")]).to.deep.equal([
        200,
        "image/svg+xml; charset=utf-8",
      ]);
      await signIn(page, "alice", inProcess.password("alice"));
      await seeSessions(page, 1);
      await placeOrder(page, "rope");
      await page.reload();
      await seeSessions(page, 1);
      // The access token has expired: the page goes on with the refresh token.
      await person.context.clearCookies({ name: "access" });
      await page.reload();
      await seeSessions(page, 1);
      await signOut(page);
      await page.reload();
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      expect(person.errors).to.deep.equal([]);
    });

    it("says of the orders whether the cache or the database answered", async () => {
      const page = await enter(await someone());
      const source = page.locator("#source");
      const load = async (): Promise<string | null> => {
        const loaded = page.waitForResponse((response) => response.request().method() === "GET");
        await page.getByRole("button", { name: "Load again" }).click();
        await loaded;
        await page.locator("#load-orders[aria-disabled=false]").waitFor();
        return await source.textContent();
      };
      // An order empties the user's view of the cache.
      await placeOrder(page, "rope");
      expect(await load()).to.match(/^miss Read from the database in \d+ ms/);
      expect(await load()).to.match(/^hit Read from the cache in \d+ ms/);
      expect(await page.locator("#answers > li").first().textContent()).to.match(/200\s+GET \/orders\s+hit, \d+ ms/);
      await signOut(page);
    });

    it("counts down what is left of each limit, and the seconds until it is full again", async () => {
      const page = await enter(await someone(), "admin");
      const limit = page.locator("#limits > li[data-id=orders]");
      const left = async (): Promise<number> => Number(await limit.getByRole("meter").getAttribute("aria-valuenow"));
      await placeOrder(page, "rope");
      await limit.getByText("19 of 20 left").waitFor();
      await placeOrder(page, "rope");
      await limit.getByText("18 of 20 left").waitFor();
      expect(await left()).to.equal(18);
      const reset = limit.locator("[data-field=reset]");
      const before = await reset.textContent();
      expect(before).to.match(/^full again in \d+ s$/);
      await until(async () => (await reset.textContent()) !== before);
      expect(Number(/\d+/.exec((await reset.textContent()) ?? "")?.[0])).to.be.lessThan(
        Number(/\d+/.exec(before ?? "")?.[0]),
      );
      for (let order = 0; order < 18; order += 1) await placeOrder(page, "rope");
      await page.locator("#order-error").waitFor({ state: "hidden" });
      const refused = page.waitForResponse(isOrder);
      // Another key for another order.
      await page.getByLabel("Item").selectOption("lantern");
      await page.getByRole("button", { name: "Place order" }).click();
      expect((await refused).status()).to.equal(429);
      expect(await page.locator("#order-error").textContent()).to.match(
        /^No order was made: your limit of orders is used up\. Try again in \d+ s\.$/,
      );
      expect(await left()).to.equal(0);
      await take(page, `${name}-limit`);
      await signOut(page);
    });

    it("shows a session of another browser at once, also one that begins while the page loads", async () => {
      const [laptop, early, late] = [await someone(), await someone(phone), await someone()];
      const page = await laptop.open();
      let release = (): void => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      // Nothing may be missed between what the page loads and the stream, which begins where the orders were read.
      await page.route("**/orders", async (route) => {
        await held;
        await route.continue();
      });
      const asked = page.waitForRequest("**/orders");
      await signIn(page, "alice", example.password("alice"));
      await asked;
      const other = await enter(early);
      release();
      await seeSessions(page, 2);
      const another = await enter(late);
      await seeSessions(page, 3);
      await signOut(another);
      await seeSessions(page, 2);
      await signOut(other);
      await seeSessions(page, 1);
      await signOut(page);
    });

    it("says what happens when Redis stops, which a button does in development", async () => {
      const person = await someone();
      const page = await enter(person);
      const elsewhere = await enter(await someone());
      const button = page.locator("#redis-button");
      await page.getByText("Redis is running.").waitFor();
      await take(page, `${name}-running`);
      await button.click();
      await page.locator("#redis-button:focus", { hasText: "Start Redis" }).waitFor();
      await seeLive(page, "degraded");
      await page.getByText("Redis cannot be reached.").waitFor();
      await page.getByRole("button", { name: "Load again" }).click();
      await page.locator("#source[data-outcome=fault]").waitFor();
      expect(await page.locator("#source").textContent()).to.match(/^503 The orders cannot be read at the moment\./);
      await page.getByRole("button", { name: "Sign out", exact: true }).click();
      await page.getByText("You are still signed in: signing out could not be recorded.").waitFor();
      await take(page, `${name}-stopped`);
      // Who is signed in is asked for no password, whatever is down.
      const another = await person.open();
      await another.getByText("The service cannot answer at the moment.").waitFor();
      // A page that shows nothing else has the button too, and the others hear of it.
      await elsewhere.locator("#redis-button", { hasText: "Start Redis" }).waitFor();
      await another.getByRole("button", { name: "Start Redis" }).click();
      await another.locator("#redis-stopped").waitFor({ state: "hidden" });
      for (const one of [page, elsewhere]) await one.locator("#redis-button", { hasText: "Stop Redis" }).waitFor();
      await seeLive(another);
      await seeLive(page);
      await page.locator("#source:is([data-outcome=hit], [data-outcome=miss])").waitFor();
      await page.locator("#outage").waitFor({ state: "hidden" });
      const id = await placeOrder(page, "lantern");
      await seeOrder(page, id, "lantern");
      await signOut(page);
      await signOut(elsewhere);
    });

    it("loads sessions and orders once more after an answer 503", async () => {
      const page = await (await someone()).open();
      const failOnce = (path: string): Promise<unknown> =>
        page.route(`**/${path}`, (route) => route.fulfill({ status: 503, headers: { "retry-after": "1" } }), {
          times: 1,
        });
      await failOnce("sessions");
      await enterAs(page, "alice", example.password("alice"));
      await page.locator("#sessions > li").first().waitFor();
      await seeLive(page);
      await failOnce("orders");
      await page.getByRole("button", { name: "Load again" }).click();
      await page.locator("#source[data-outcome=fault]").waitFor();
      await page.locator("#source:is([data-outcome=hit], [data-outcome=miss])").waitFor();
      await signOut(page);
    });

    it("cannot be made to stop Redis in production, where nothing of that exists", async () => {
      const production = await startExample(name, { redis: server.url, secret, production: true });
      try {
        const json = { "content-type": "application/json" };
        const ask = (path: string, init: RequestInit = {}): Promise<Response> => fetch(production.url + path, init);
        const login = { username: "alice", password: production.password("alice") };
        const signedIn = await ask("/login", { method: "POST", headers: json, body: JSON.stringify(login) });
        const { access_token: token } = (await signedIn.json()) as { access_token: string };
        const bearer = { authorization: `Bearer ${token}` };
        const turn = { method: "PUT", body: JSON.stringify({ running: false }) };
        expect((await ask("/development/redis", { ...turn, headers: json })).status).to.equal(401);
        expect((await ask("/development/redis", { ...turn, headers: { ...json, ...bearer } })).status).to.equal(404);
        expect((await ask("/development/redis", { headers: bearer })).status).to.equal(404);
        expect((await ask("/development.js", { headers: bearer })).status).to.equal(404);
        expect((await ask("/orders", { headers: bearer })).status).to.equal(200);
        const [page, inDevelopment] = await Promise.all(
          [production.url, example.url].map(async (url) => await (await fetch(url)).text()),
        );
        expect(inDevelopment).to.match(/development[^]*Stop Redis/);
        expect(page).to.not.match(/development|Stop Redis/);
        // It is a service of the same users.
        expect((await ask("/logout", { method: "POST", headers: bearer })).status).to.equal(204);
      } finally {
        await production.stop();
      }
    });

    if (name !== examples[0]) return;

    it("keeps the focus where the next step is", async () => {
      const [person, other, third] = [await someone(), await someone(phone), await someone()];
      const page = await person.open();
      const focused = (id: string): Promise<void> => page.locator(`#${id}:focus`).waitFor();
      await focused("username");
      await signIn(page, "alice", example.password("alice"));
      await focused("account-title");
      await seeSessions(page, 1);
      await placeOrder(page, "rope");
      await focused("order-button");
      await page.getByRole("button", { name: "Load again" }).click();
      await page.locator("#source:not(:empty)").waitFor();
      await focused("load-orders");
      const elsewhere = await enter(other);
      await seeSessions(page, 2);
      // What appears elsewhere takes the focus from nobody.
      await page.getByRole("button", { name: "End the session of Safari on iOS" }).focus();
      await enter(third);
      await seeSessions(page, 3);
      await page.locator("button:focus", { hasText: "End" }).waitFor();
      await page.getByRole("button", { name: "End the session of Safari on iOS" }).press("Enter");
      await seeTheEnd(elsewhere);
      await elsewhere.locator("#again:focus").waitFor();
      await page.getByText("The session of Safari on iOS has ended.").waitFor();
      await focused("sessions-title");
      await page.getByRole("button", { name: "End all others" }).click();
      await page.getByText("One session has ended.").waitFor();
      await focused("sessions-title");
      await page.getByLabel("New address").fill("alice@example.org");
      await page.getByRole("button", { name: "Send a link" }).click();
      await page.getByText("Open the link of the mail").waitFor();
      await focused("email-button");
      const link = await example.link("alice@example.org");
      const confirmation = await person.open(link);
      await confirmation.getByRole("button", { name: "Confirm" }).click();
      await confirmation.locator("#title:focus").waitFor();
      await signOut(page);
      await focused("username");
      await signIn(page, "alice", "not the password");
      await page.getByRole("alert").waitFor();
      await focused("sign-in-button");
    });

    it("counts down the seconds until the next attempt to sign in", async () => {
      const person = await someone();
      await person.context.clock.install();
      const page = await person.open();
      for (let attempt = 0; attempt < 6; attempt += 1) {
        const answered = page.waitForResponse((response) => response.url().endsWith("/auth/login"));
        await signIn(page, "nobody", "a guess");
        await answered;
        await page.locator("#sign-in-button[aria-disabled=false]").waitFor();
      }
      const wait = page.getByRole("timer");
      const seconds = async (): Promise<number> =>
        Number(/^Try again in (\d+) s\.$/.exec((await wait.textContent()) ?? "")?.[1]);
      const before = await seconds();
      expect(before).to.be.within(1, 60);
      await take(page, `${name}-throttled`);
      await page.clock.fastForward(5000);
      await until(async () => (await seconds()) <= before - 5);
      await page.clock.fastForward(60_000);
      await wait.getByText("You can try again now.").waitFor();
      expect(await page.getByRole("alert").count()).to.equal(0);
    });

    it("has borders of fields and marks of the focus with a contrast of 3:1, in light and dark", async () => {
      const person = await someone();
      const page = await person.open();
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const found = await contrasts(page, ["#username", "#password", "#sign-in-button"]);
        expect(found.length).to.equal(5);
        expect(found.filter(({ ratio }) => !(ratio >= 3))).to.deep.equal([]);
      }
      await enterAs(page, "alice", example.password("alice"));
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const found = await contrasts(page, ["#item", "#email", "#load-orders", "#sign-out-everywhere", ".meter"]);
        expect(found.length).to.be.greaterThan(5);
        expect(found.filter(({ ratio }) => !(ratio >= 3))).to.deep.equal([]);
      }
      await signOut(page);
    });

    it("has nothing that axe calls serious, on any view, small and large, in light and dark", async () => {
      const [person, other] = [await someone(), await someone(phone)];
      const page = await person.open();
      const found: string[] = [];
      const examine = async (shown: Page, view: string): Promise<void> => {
        const problems = await findViolations(shown);
        found.push(...problems.map((problem) => `${view}: ${problem}`));
        await take(shown, `${name}-${view}`);
      };
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      await examine(page, "sign-in");
      await signIn(page, "alice", "not the password");
      await page.getByRole("alert").waitFor();
      await examine(page, "refused");
      await enterAs(page, "alice", example.password("alice"));
      await seeSessions(page, 1);
      const small = await other.open();
      await examine(small, "sign-in-small");
      await enterAs(small, "alice", example.password("alice"));
      await seeSessions(small, 2);
      await seeSessions(page, 2);
      await placeOrder(small, "padlock");
      await examine(page, "account");
      await examine(small, "account-small");
      expect(await small.evaluate("document.documentElement.scrollWidth")).to.be.at.most(390);
      await page.getByRole("button", { name: "End all others" }).click();
      await seeTheEnd(small);
      await examine(small, "ended-small");
      await page.goto(`${example.url}/confirm#token`);
      await page.getByRole("button", { name: "Confirm" }).waitFor();
      await examine(page, "confirm");
      expect(found).to.deep.equal([]);
      await page.goto(example.url);
      await seeSessions(page, 1);
      await signOut(page);
    });
  });
}
