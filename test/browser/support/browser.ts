import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import type { Browser, BrowserContext, BrowserContextOptions, Page, Response } from "playwright-core";
import { until } from "../../support/until.js";

/** Background traffic of its own, and a sandbox that root cannot have. */
const flags = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
];

export function openBrowser(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM;
  if (executablePath === undefined) throw new Error("CHROMIUM is not set: run npm run test:browser");
  return chromium.launch({ executablePath, args: flags });
}

/** A browser of somebody's own: with cookies of its own, and what pages complain of. */
export interface Person {
  readonly context: BrowserContext;
  /** What the console of any page says that is an error, refusals by the content security policy among them. */
  readonly complaints: readonly string[];
  /** Every error on the console of any page, refused requests included. */
  readonly errors: readonly string[];
  /** Opens the page of the example, or another. */
  open(address?: string): Promise<Page>;
}

export const phone: BrowserContextOptions = {
  userAgent:
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
  viewport: { width: 390, height: 844 },
};

export async function meet(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Person> {
  const context = await browser.newContext({ ...options });
  context.setDefaultTimeout(15_000);
  const complaints: string[] = [];
  const errors: string[] = [];
  return {
    context,
    complaints,
    errors,
    async open(address = url) {
      const page = await context.newPage();
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (message.type() !== "error") return;
        errors.push(`${message.text()} ${message.location().url}`);
        // A refused request is part of the game; the page says so in its own words.
        if (!/^Failed to load resource/.test(message.text())) complaints.push(message.text());
      });
      await page.goto(address);
      return page;
    },
  };
}

export async function signIn(page: Page, username: string, password: string): Promise<void> {
  await page.getByLabel("User name").fill(username);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

/** Signs in, and waits until the page is told of what happens. Redis of a busy machine may be too slow: then once more. */
export async function enterAs(page: Page, username: string, password: string): Promise<void> {
  const live = page.locator("#live[data-state=live]");
  const unavailable = page.locator("#sign-in-error", { hasText: "at the moment" });
  await until(async () => {
    await signIn(page, username, password);
    await live.or(unavailable).first().waitFor();
    return await live.isVisible();
  });
}

/** Signs out. What could not be recorded is not confirmed: then once more, unless the session has ended all the same. */
export async function signOut(page: Page): Promise<void> {
  const form = page.locator("#sign-in:not([hidden]), #ended:not([hidden])");
  const unavailable = page.locator("#account-error", { hasText: "You are still signed in" });
  await until(async () => {
    if (await form.isVisible()) return true;
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await form.or(unavailable).first().waitFor();
    return await form.isVisible();
  });
}

/** Waits until the page says that it is told of what happens, or that it is not. */
export async function seeLive(page: Page, state: "live" | "connecting" | "degraded" = "live"): Promise<void> {
  await page.locator(`#live[data-state=${state}]`).waitFor();
}

/** Waits until the page shows so many sessions and hears of their ends. */
export async function seeSessions(page: Page, count: number): Promise<void> {
  await seeLive(page);
  await until(async () => (await page.locator("#sessions > li").count()) === count);
}

/** Waits until the page says that its session has been ended. Nothing is clicked and nothing loaded anew. */
export async function seeTheEnd(page: Page): Promise<void> {
  await page.getByRole("heading", { name: "You have been signed out" }).waitFor();
}

/** Places an order, and returns its id. */
export async function placeOrder(page: Page, item: string): Promise<string> {
  await page.getByLabel("Item").selectOption(item);
  const answered = page.waitForResponse(isOrder);
  await page.getByRole("button", { name: "Place order" }).click();
  return ((await (await answered).json()) as { id: string }).id;
}

/** Is it the answer to an order that was placed? */
export function isOrder(response: Response): boolean {
  return response.request().method() === "POST" && response.url().endsWith("/orders");
}

/** Waits until the page shows the order. */
export async function seeOrder(page: Page, id: string, item: string): Promise<void> {
  await page.locator(`#orders > li[data-id="${id}"]`, { hasText: `1 x ${item}` }).waitFor();
}

/** Where to put pictures of the pages; none are taken without. */
const pictures = process.env.SCREENSHOTS;

/** Takes pictures of the page in light and dark. */
export async function take(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  mkdirSync(pictures, { recursive: true });
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${pictures}/${name}-${colorScheme}.png`, fullPage: true });
  }
}
