import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import fc from "fast-check";
import {
  authenticateChallenge,
  challengeText,
  rateLimitFields,
  rateLimitFormats,
  retryAfter,
} from "../../packages/core/src/http/fields.js";
import type { RateLimitFormat, RateLimitItem } from "../../packages/core/src/http/fields.js";
import type { Header } from "../../packages/core/src/index.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import { parseDictionary, parseItem, parseList } from "./support/structured-fields.js";

const most = 1_000_000_000_000;
const item: fc.Arbitrary<RateLimitItem> = fc.record({
  policy: fc.stringMatching(/^[A-Za-z0-9_.-]{1,64}$/),
  limit: fc.integer({ min: 0, max: most }),
  windowSeconds: fc.integer({ min: 1, max: 24 * 86_400 }),
  remaining: fc.integer({ min: 0, max: most }),
  resetSeconds: fc.integer({ min: 0, max: 24 * 86_400 }),
});
const items = fc.array(item, { minLength: 1, maxLength: 5 });
const now = 1_700_000_000_250;

function fields(format: RateLimitFormat, list: readonly RateLimitItem[]): Record<string, string> {
  const headers = rateLimitFields(format, list, now);
  const record = Object.fromEntries(headers);
  expect(Object.keys(record), "a field is given twice").to.have.length(headers.length);
  return record;
}

/** The policy that will refuse first: the older forms have room for one. */
function isTightest(list: readonly RateLimitItem[], remaining: number, reset: number): boolean {
  const least = Math.min(...list.map((one) => one.remaining));
  const longest = Math.max(...list.filter((one) => one.remaining === least).map((one) => one.resetSeconds));
  return remaining === least && reset === longest;
}

describe("the rate-limit fields can be parsed again", () => {
  it("in the form of drafts 8 to 11, policy by policy", () => {
    fc.assert(
      fc.property(items, (list) => {
        const { "RateLimit-Policy": policies = "", RateLimit: states = "", ...rest } = fields("draft-8", list);
        expect(rest).to.deep.equal({});
        expect(parseList(policies)).to.deep.equal(
          list.map(({ policy, limit, windowSeconds }) => ({
            value: policy,
            parameters: { q: limit, w: windowSeconds },
          })),
        );
        expect(parseList(states)).to.deep.equal(
          list.map(({ policy, remaining, resetSeconds }) => ({
            value: policy,
            parameters: { r: remaining, t: resetSeconds },
          })),
        );
      }),
    );
  });

  it("in the form of draft 7", () => {
    fc.assert(
      fc.property(items, (list) => {
        const { "RateLimit-Policy": policy = "", RateLimit: state = "", ...rest } = fields("draft-7", list);
        expect(rest).to.deep.equal({});
        const { limit, remaining, reset, ...others } = parseDictionary(state);
        expect(others).to.deep.equal({});
        expect(isTightest(list, Number(remaining?.value), Number(reset?.value))).to.be.true;
        const quota = parseItem(policy);
        expect(quota.value).to.equal(limit?.value);
        expect(
          list.some(
            (one) =>
              one.limit === quota.value &&
              one.windowSeconds === quota.parameters.w &&
              one.remaining === remaining?.value,
          ),
        ).to.be.true;
      }),
    );
  });

  it("in the form of draft 6", () => {
    fc.assert(
      fc.property(items, (list) => {
        const {
          "RateLimit-Policy": policy = "",
          "RateLimit-Limit": limit,
          "RateLimit-Remaining": remaining,
          "RateLimit-Reset": reset,
          ...rest
        } = fields("draft-6", list);
        expect(rest).to.deep.equal({});
        for (const text of [limit, remaining, reset]) expect(text).to.match(/^(?:0|[1-9]\d*)$/);
        expect(isTightest(list, Number(remaining), Number(reset))).to.be.true;
        expect(String(parseItem(policy).value)).to.equal(limit);
      }),
    );
  });

  it("in the older form, with the reset as a time", () => {
    fc.assert(
      fc.property(items, (list) => {
        const {
          "X-RateLimit-Limit": limit,
          "X-RateLimit-Remaining": remaining,
          "X-RateLimit-Reset": reset,
          ...rest
        } = fields("legacy", list);
        expect(rest).to.deep.equal({});
        for (const text of [limit, remaining, reset]) expect(text).to.match(/^(?:0|[1-9]\d*)$/);
        const seconds = Number(reset) - Math.ceil(now / 1000);
        expect(isTightest(list, Number(remaining), seconds)).to.be.true;
      }),
    );
  });

  it("not at all where they are off or nothing was counted", () => {
    fc.assert(fc.property(items, (list) => rateLimitFields(false, list, now).length === 0));
    for (const format of rateLimitFormats) expect(rateLimitFields(format, [], now)).to.deep.equal([]);
  });
});

describe("Retry-After", () => {
  it("is a whole number of seconds, at least 1 and never too early", () => {
    fc.assert(
      fc.property(fc.double({ min: -1e6, max: 24 * 86_400, noNaN: true }), (seconds) => {
        const [name, text] = retryAfter(seconds);
        expect(name).to.equal("Retry-After");
        expect(text).to.match(/^[1-9]\d*$/);
        expect(Number(text)).to.be.at.least(Math.max(1, seconds));
        expect(Number(text)).to.be.below(Math.max(1, seconds) + 1);
      }),
    );
  });
});

/** Scheme and quoted parameters of a challenge (RFC 9110 11.6.1). */
function parseChallenge(text: string): { scheme: string; parameters: Record<string, string> } {
  const [scheme = "", rest = ""] = text.split(/ (.*)/s);
  const parameters: Record<string, string> = {};
  for (const part of rest === "" ? [] : rest.split(/, (?=[a-z_]+=)/)) {
    const match = /^([a-z_]+)="([^"\\]*)"$/.exec(part);
    if (match?.[1] === undefined) throw new Error(`not a parameter: ${part}`);
    parameters[match[1]] = match[2] ?? "";
  }
  return { scheme, parameters };
}

describe("a challenge can be parsed again", () => {
  it("with any realm that options accept", () => {
    fc.assert(
      fc.property(
        fc.string({
          unit: fc.constantFrom(
            ...Array.from({ length: 0x7f - 0x20 }, (_, index) => String.fromCharCode(0x20 + index)),
          ),
          minLength: 1,
        }),
        (realm) => {
          expect(challengeText.test(realm)).to.equal(!/["\\]/.test(realm));
          if (/["\\]|, [a-z_]+=/.test(realm)) return;
          const text = authenticateChallenge("Bearer", { realm, error: "invalid_token" });
          expect(parseChallenge(text)).to.deep.equal({
            scheme: "Bearer",
            parameters: { realm, error: "invalid_token" },
          });
        },
      ),
    );
  });

  it("without parameters is the scheme alone", () => expect(authenticateChallenge("Bearer")).to.equal("Bearer"));

  it("never contains a character that ends a quoted text or a line", () => {
    for (const text of ['a"', "a\\", "a\n", "a\r", "a\0", "\u007f", "\u00e9", "", "\t", "a\n\n"])
      expect(challengeText.test(text), JSON.stringify(text)).to.be.false;
  });

  it("of a missing scope names the scopes that are needed", async () => {
    const gate = openGate({ auth: { ...testAuth, realm: "api" } });
    const exchange = fakeExchange();
    exchange.state.identify({ auth: { scopes: ["orders:read"] } } as never);
    const verdict = await gate.requireScopes("orders:read", "orders:write").check(exchange);
    const [, text = ""] = verdict.headers.find(([name]) => name === "WWW-Authenticate") ?? [];
    expect(parseChallenge(text).parameters).to.deep.equal({
      realm: "api",
      error: "insufficient_scope",
      scope: "orders:read orders:write",
    });
    expect(verdict).to.include({ allowed: false, status: 403 });
  });
});

describe("the answer to a request over its limit", () => {
  for (const headers of [...rateLimitFormats, false] as const) {
    it(`has consistent fields in the form ${String(headers)}`, async () => {
      const limits = [
        { name: "burst", per: "ip", limit: 2, window: "10s" },
        { name: "daily", per: "ip", limit: 100, window: "24h" },
      ] as const;
      const gate = openGate({ limits, headers });
      const ask = async (): Promise<ReturnType<ReturnType<typeof gate.guard>["check"]>> =>
        gate.guard().check(fakeExchange());
      expect((await ask()).allowed && (await ask()).allowed).to.be.true;
      const denied = await ask();
      if (denied.allowed) throw new Error("passed");
      const answer: Record<string, string> = Object.fromEntries<string>(denied.headers as Header[]);
      expect(denied.status).to.equal(429);
      expect(denied.problem["violated-policies"]).to.deep.equal(["burst"]);
      expect(JSON.parse(denied.body)).to.deep.equal(denied.problem);
      expect(answer["Cache-Control"]).to.equal("no-store");
      expect(Number(answer["Content-Length"])).to.equal(Buffer.byteLength(denied.body));
      expect(Number(answer["Retry-After"])).to.be.within(1, 10);
      if (headers === "draft-8") {
        const [burst, daily] = parseList(answer.RateLimit ?? "");
        expect(burst?.parameters.r).to.equal(0);
        expect(Number(answer["Retry-After"])).to.be.at.least(Number(burst?.parameters.t));
        expect(daily?.parameters.r).to.equal(98);
      }
    });
  }

  it("refuses all with a limit of 0, and asks for at least a second of patience", async () => {
    const gate = openGate({ limits: [{ name: "none", per: "ip", limit: 0, window: "1s" }] });
    const denied = await gate.guard().check(fakeExchange());
    expect(denied).to.include({ allowed: false, status: 429 });
    expect(Number(Object.fromEntries<string>(denied.headers as Header[])["Retry-After"])).to.be.at.least(1);
  });
});
