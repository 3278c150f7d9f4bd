import { randomBytes } from "node:crypto";
import type { RedisServer } from "@portcullis/testkit";
import { startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import type { Browser, Page } from "playwright-core";
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
import { until } from "../support/until.js";
import { startExample } from "./support/example.js";
import type { RunningExample } from "./support/example.js";

const examples = ["express-api", "koa-api"];
const stores = ["in process", "on Redis"];

describe("the pages of the examples", () => {
  let browser: Browser;
  before(async function () {
    this.timeout(60_000);
    browser = await openBrowser();
  });
  after(() => browser.close());

  for (const name of examples) {
    for (const store of stores) {
      describe(`the page of ${name}, ${store},`, function () {
        this.timeout(60_000);
        const cleanUp: (() => unknown)[] = [];
        const people: Person[] = [];
        const secret = randomBytes(32).toString("hex");
        let example: RunningExample;
        let second: RunningExample;
        let server: RedisServer | undefined;

        before(async () => {
          server = store === "in process" ? undefined : await startRedis();
          cleanUp.push(() => server?.stop());
          // Two processes of one service, where there is a Redis to make them one.
          const options = { redis: server?.url, secret };
          example = await startExample(name, options);
          cleanUp.push(() => example.stop());
          second = server === undefined ? example : await startExample(name, options);
          cleanUp.push(() => second.stop());
        });
        after(async () => {
          for (const clean of cleanUp.splice(0).reverse()) await clean();
        });
        afterEach(async () => {
          const complaints = people.flatMap((person) => person.complaints);
          for (const { context } of people.splice(0)) await context.close();
          expect(complaints).to.deep.equal([]);
        });

        const someone = async (options = {}, { url } = example): Promise<Person> => {
          const person = await meet(browser, url, options);
          people.push(person);
          return person;
        };
        const enter = async (
          person: Person,
          user: "alice" | "admin",
          sessions: number,
          { password } = example,
        ): Promise<Page> => {
          const page = await person.open();
          await enterAs(page, user, password(user));
          await seeSessions(page, sessions);
          return page;
        };

        it("ends one session, whose page says so at once", async () => {
          const [laptop, mobile] = [await someone(), await someone(phone, second)];
          const atHome = await enter(laptop, "alice", 1);
          const onTheWay = await enter(mobile, "alice", 2, second);
          await seeSessions(atHome, 2);
          await take(atHome, "two-sessions");
          await take(onTheWay, "phone");
          await atHome.getByRole("button", { name: "End the session of Safari on iOS" }).click();
          await seeTheEnd(onTheWay);
          await take(onTheWay, "ended");
          await seeSessions(atHome, 1);
          await onTheWay.reload();
          await onTheWay.getByRole("heading", { name: "Sign in" }).waitFor();
          await signOut(atHome);
        });

        it("ends all other sessions, and goes on itself", async () => {
          const [one, two, three] = [await someone(), await someone(phone), await someone()];
          const mine = await enter(one, "admin", 1);
          const others = [await enter(two, "admin", 2), await enter(three, "admin", 3)];
          await seeSessions(mine, 3);
          await mine.getByRole("button", { name: "End all others" }).click();
          await Promise.all(others.map(seeTheEnd));
          await seeSessions(mine, 1);
          expect(await mine.getByRole("button", { name: "End all others" }).isDisabled()).to.equal(true);
          await mine.reload();
          await seeSessions(mine, 1);
          await signOut(mine);
        });

        it("shows an order at once in every browser of its user, whichever process it was posted to, and in no other", async () => {
          const [laptop, mobile] = [await someone(), await someone(phone, second)];
          const stranger = await someone({}, second);
          const [atHome, onTheWay] = [await enter(laptop, "alice", 1), await enter(mobile, "alice", 2, second)];
          const elsewhere = await enter(stranger, "admin", 1, second);
          const id = await placeOrder(atHome, "padlock");
          await seeOrder(onTheWay, id, "padlock");
          const answer = await placeOrder(onTheWay, "lantern");
          await seeOrder(atHome, answer, "lantern");
          await take(onTheWay, "live-order");
          // Messages come in order: what is sent to this one after the orders has come.
          const own = await placeOrder(elsewhere, "rope");
          await seeOrder(elsewhere, own, "rope");
          expect(await elsewhere.getByText(id).count()).to.equal(0);
          expect(await atHome.getByText(id).count()).to.equal(1);
          await Promise.all([signOut(elsewhere), signOutEverywhere(onTheWay), seeTheEnd(atHome)]);
        });

        it("signs out everywhere, and the pages of all processes say so at once", async () => {
          const [one, two, three] = [await someone(), await someone(phone, second), await someone()];
          const pages = [await enter(one, "alice", 1), await enter(two, "alice", 2, second)];
          const other = await enter(three, "admin", 1);
          const last = await one.open();
          await seeSessions(last, 2);
          await Promise.all([signOutEverywhere(last), ...pages.map(seeTheEnd)]);
          for (const page of pages) await page.reload();
          for (const page of pages) await page.getByRole("heading", { name: "Sign in" }).waitFor();
          await seeSessions(other, 1);
          await signOut(other);
        });

        // The same on every store, or in need of one: once is enough.
        if (store === "in process") return;

        it("signs in with the right password only, and keeps tokens from its own scripts", async () => {
          const person = await someone();
          const page = await person.open();
          await signIn(page, "alice", "not the password");
          expect(await page.getByRole("alert").textContent()).to.equal("User name or password is wrong.");
          await take(page, "refused");
          await signIn(page, "alice", example.password("alice"));
          await seeSessions(page, 1);
          expect(await page.locator("#sessions > li").first().textContent()).to.match(/Chrome on \w+\s+This device/);
          expect(await page.evaluate(readableByScripts)).to.deep.equal(["", 0, 0]);
          const cookies = await person.context.cookies();
          expect(cookies.filter(({ httpOnly, sameSite }) => !httpOnly || sameSite !== "Strict")).to.deep.equal([]);
          await signOut(page);
          await page.reload();
          await page.getByRole("heading", { name: "Sign in" }).waitFor();
        });

        it("is signed out in every tab of a browser when one of them signs out", async () => {
          const person = await someone();
          const first = await enter(person, "alice", 1);
          const second = await person.open();
          await seeSessions(second, 1);
          await signOut(first);
          await seeTheEnd(second);
          await second.getByRole("button", { name: "Sign in again" }).click();
          await second.getByRole("heading", { name: "Sign in" }).waitFor();
        });

        it("goes on when the access token has expired, in two tabs at once", async () => {
          const person = await someone();
          const first = await enter(person, "alice", 1);
          const second = await person.open();
          await seeSessions(second, 1);
          await person.context.clearCookies({ name: "access" });
          await Promise.all([first.reload(), second.reload()]);
          await Promise.all([seeSessions(first, 1), seeSessions(second, 1)]);
          await signOut(first);
        });

        it("confirms an address by the button behind the link of a mail, once, in another browser", async () => {
          const [laptop, mobile] = [await someone(), await someone(phone)];
          const page = await enter(laptop, "alice", 1);
          await page.getByText("No address is confirmed.").waitFor();
          const email = `${store.replaceAll(" ", "-")}@example.org`;
          await page.getByLabel("New address").fill(email);
          await page.getByRole("button", { name: "Send a link" }).click();
          const link = await example.link(email);
          await take(page, "mail");
          // A mail scanner opens the link, and loads what the page has.
          const scanner = await mobile.open(link);
          await scanner.getByRole("button", { name: "Confirm" }).waitFor();
          expect(scanner.url()).to.equal(`${example.url}/confirm`);
          const opened = await mobile.open(link);
          await opened.getByRole("button", { name: "Confirm" }).click();
          await opened.getByText(`${email} is confirmed.`).waitFor();
          await take(opened, "confirmed");
          await scanner.getByRole("button", { name: "Confirm" }).click();
          await scanner.getByText("This link is no longer valid. Ask for another mail.").waitFor();
          await page.reload();
          await page.getByText(`${email} is confirmed.`).waitFor();
          await signOut(page);
        });

        it("makes one order of a double click, and another one later", async () => {
          const person = await someone();
          const page = await enter(person, "alice", 1);
          const orders = page.locator("#orders > li");
          await orders.first().waitFor();
          const before = await orders.count();
          const place = page.getByRole("button", { name: "Place order" });
          const made: string[] = [];
          page.on("response", (response) => {
            if (isOrder(response)) made.push(String(response.status()));
          });
          await place.dblclick();
          await until(() => made.length === 2);
          await until(async () => (await orders.count()) === before + 1);
          await page.reload();
          await until(async () => (await orders.count()) === before + 1);
          await place.click();
          await until(async () => (await orders.count()) === before + 2);
          await until(() => made.length === 3);
          expect(made).to.deep.equal(["201", "201", "201"]);
          await take(page, "orders");
          await signOut(page);
        });

        it("shows what it has missed while its process was restarted", async () => {
          const [laptop, mobile] = [await someone(), await someone(phone, second)];
          const [atHome, onTheWay] = [await enter(laptop, "alice", 1), await enter(mobile, "alice", 2, second)];
          await second.stop();
          await seeLive(onTheWay, "connecting");
          const id = await placeOrder(atHome, "rope");
          second = await startExample(name, { redis: server?.url, secret, port: second.port });
          await seeOrder(onTheWay, id, "rope");
          await seeSessions(onTheWay, 2);
          await Promise.all([signOutEverywhere(onTheWay), seeTheEnd(atHome)]);
        });

        it("says that it is not told of anything while Redis is down, and goes on after that", async () => {
          const [laptop, mobile] = [await someone(), await someone(phone, second)];
          const [atHome, onTheWay] = [await enter(laptop, "alice", 1), await enter(mobile, "alice", 2, second)];
          server?.pause();
          await Promise.all([seeLive(atHome, "degraded"), seeLive(onTheWay, "degraded")]);
          await take(atHome, "degraded");
          server?.resume();
          await Promise.all([seeLive(atHome), seeLive(onTheWay)]);
          const id = await placeOrder(atHome, "lantern");
          await seeOrder(onTheWay, id, "lantern");
          await Promise.all([signOutEverywhere(onTheWay), seeTheEnd(atHome)]);
        });

        it("goes on with another access token when its own is revoked without the session", async () => {
          const person = await someone();
          const page = await enter(person, "alice", 1);
          const accessToken = async (): Promise<string> =>
            (await person.context.cookies()).find((cookie) => cookie.name === "access")?.value ?? "";
          const before = await accessToken();
          const { jti } = JSON.parse(Buffer.from(before.split(".")[1] ?? "", "base64url").toString()) as {
            jti: string;
          };
          // As another service would do it.
          const redis = new Redis(server?.url ?? "");
          await redis.set(`auth:revoked:${jti}`, "revoked", "EX", 900);
          redis.disconnect();
          await until(async () => ![before, ""].includes(await accessToken()));
          await seeSessions(page, 1);
          const id = await placeOrder(page, "rope");
          await seeOrder(page, id, "rope");
          await signOut(page);
        });

        it("says when there were too many attempts, and lets a device in that is known", async () => {
          const [attacker, owner] = [await someone(), await someone()];
          await signOut(await enter(owner, "alice", 1));
          const page = await attacker.open();
          for (let attempt = 0; attempt < 6; attempt += 1) {
            await signIn(page, "alice", "a guess");
            await page.getByRole("alert").waitFor();
            await page.getByRole("button", { name: "Sign in", exact: true, disabled: false }).waitFor();
          }
          expect(await page.getByRole("alert").textContent()).to.equal("Too many attempts.");
          await take(page, "throttled");
          await signOut(await enter(owner, "alice", 1));
        });
      });
    }
  }
});

async function signOutEverywhere(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await page.getByRole("heading", { name: "Sign in", exact: true }).waitFor();
}

/** Runs in the page. */
function readableByScripts(): unknown[] {
  const { document, localStorage, sessionStorage } = globalThis as unknown as {
    document: { cookie: string };
    localStorage: { length: number };
    sessionStorage: { length: number };
  };
  return [document.cookie, localStorage.length, sessionStorage.length];
}
