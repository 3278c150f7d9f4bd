import { get } from "node:http";
import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "chai";
import type { RequestHandler } from "express";
import type { AnyMiddleware } from "../../support/app.js";
import { describeOnEveryGate } from "../../support/every-gate.js";
import { expressGrounds } from "../../support/in-front.js";
import { send } from "../../support/http.js";
import type { OriginAnswer } from "../../support/origin.js";
import { origin } from "../../support/origin.js";
import type { CachedApp } from "../../support/response-cache.js";
import { latch } from "../../support/response-cache.js";

/** Middleware that changes the head at the last moment, as sessions do, of whichever framework. */
function whenHeadIsMade(change: (res: ServerResponse) => void): AnyMiddleware {
  return function late(first: unknown, second: unknown, third?: unknown): unknown {
    const isExpress = typeof third === "function";
    const res = (isExpress ? second : (first as { res: unknown }).res) as ServerResponse;
    const writeHead = res.writeHead.bind(res) as (...given: unknown[]) => ServerResponse;
    res.writeHead = function changedWriteHead(...given: unknown[]) {
      change(res);
      return writeHead(...given);
    };
    return (isExpress ? (third as () => unknown) : (second as () => Promise<unknown>))();
  };
}

const bodies: Readonly<Record<string, (text: string) => NonNullable<OriginAnswer["body"]>>> = {
  text: (text) => text,
  json: (text) => ({ text }),
  stream: (text) => Readable.from([Buffer.from(text), Buffer.from("!")]),
};

describeOnEveryGate("a head that is changed when it is made", (start) => {
  /** Each answer of its handler has a number. */
  async function serveChanged(
    change: (res: ServerResponse) => void,
    where: string,
    answer: (url: string, calls: number) => OriginAnswer,
  ): Promise<CachedApp> {
    let calls = 0;
    const late = whenHeadIsMade(change);
    const app = await start(undefined, {
      routes: {},
      use: (gate) => [
        ...(where === "in front of" ? [late] : []),
        gate.cacheResponse({ ttl: "1m" }),
        ...(where === "behind" ? [late] : []),
        origin(({ url }) => answer(url, (calls += 1))),
      ],
    });
    return { ...app, calls: () => calls };
  }

  const numbered = (url: string, calls: number): OriginAnswer => ({
    body: bodies[url.slice(1)]?.(`secret ${calls}`) ?? "",
  });

  it("stores nothing if the response was never made, since the client has gone", async () => {
    const [asked, left] = [latch(), latch()];
    let calls = 0;
    const app = await start(undefined, {
      routes: {},
      use: (gate) => [
        gate.cacheResponse({ ttl: "1m" }),
        whenHeadIsMade((res) => void res.setHeader("set-cookie", "sid=1")),
        origin(async () => {
          calls += 1;
          asked.open();
          if (calls === 1) await left.opened;
          return { body: `secret ${calls === 1 ? "of the first" : calls}` };
        }),
      ],
    });
    const first = get(`${app.url}/text`).on("error", () => undefined);
    await asked.opened;
    const closed = new Promise((resolve) => first.once("close", resolve));
    first.destroy();
    await closed;
    // The server hears of that at its next turns.
    await sleep(50);
    left.open();
    await sleep(50);
    const texts = [(await send(`${app.url}/text`)).text, (await send(`${app.url}/text`)).text];
    expect(texts).to.deep.equal(["secret 2", "secret 3"]);
  });

  const forbidding = {
    "set-cookie": "sid=1; HttpOnly",
    "cache-control": "private",
    vary: "*",
  };

  for (const where of ["in front of", "behind"]) {
    it(`${where} the cache prevents storing if it adds no-store`, async () => {
      for (const [name, value] of Object.entries(forbidding)) {
        const app = await serveChanged((res) => void res.setHeader(name, value), where, numbered);
        for (const kind of Object.keys(bodies)) {
          const first = await send(`${app.url}/${kind}`);
          expect(String(first.headers[name]), kind).to.equal(value);
          expect((await send(`${app.url}/${kind}`)).text, `${name} ${kind}`).not.to.equal(first.text);
        }
        const together = await Promise.all([1, 2, 3].map(async () => send(`${app.url}/text`)));
        expect(new Set(together.map(({ text }) => text)).size, name).to.equal(3);
      }
    });

    it(`${where} the cache may set a cookie on a response that is public`, async () => {
      const app = await serveChanged(
        (res) => void res.setHeader("Set-Cookie", "sid=1"),
        where,
        (_url, calls) => ({ headers: { "cache-control": "public, max-age=60" }, body: `all ${calls}` }),
      );
      for (let time = 0; time < 2; time += 1) expect((await send(`${app.url}/a`)).text).to.equal("all 1");
    });

    it(`${where} the cache chooses among responses by the Vary that it adds`, async () => {
      const app = await serveChanged(
        (res) => void res.setHeader("Vary", "X-View"),
        where,
        (_url, calls) => ({ body: `view ${calls}` }),
      );
      const ask = async (view: string): Promise<string> => {
        const { text, headers } = await send(`${app.url}/a`, { headers: { "x-view": view } });
        expect(String(headers.vary).toLowerCase()).to.equal("x-view");
        return text;
      };
      expect([await ask("a"), await ask("b"), await ask("a"), await ask("b")]).to.deep.equal([
        ...["view 1", "view 2", "view 1", "view 2"],
      ]);
    });
  }

  it("does not prevent storing a response without a directive about it", async () => {
    const app = await serveChanged((res) => void res.setHeader("X-Late", "yes"), "in front of", numbered);
    for (const kind of Object.keys(bodies)) {
      const first = await send(`${app.url}/${kind}`);
      const second = await send(`${app.url}/${kind}`);
      expect([second.text, second.headers["x-late"]], kind).to.deep.equal([first.text, "yes"]);
    }
    expect(app.calls()).to.equal(3);
  });
});

for (const ground of expressGrounds)
  describe(`a head that handlers change when it is made on ${ground.name}`, () => {
    it("is stored as it became, for every kind of body", async () => {
      const late = whenHeadIsMade((res) => void res.setHeader("Content-Language", "de")) as RequestHandler;
      const behind = Object.entries(bodies).map(([kind, make]) => {
        const answer = origin(() => ({ body: make("x") })) as RequestHandler;
        return [
          kind,
          ((req, res, next) => void late(req, res, () => void answer(req, res, next))) as RequestHandler,
        ] as const;
      });
      const ask = await ground.serve({ behind }, { ttl: "1m" });
      for (const [kind] of behind) {
        const [miss, hit] = [await ask(`/${kind}`), await ask(`/${kind}`)];
        expect(hit.headers["cache-status"], kind).to.match(/; hit/);
        expect([hit.headers["content-language"], String(hit.bytes)]).to.deep.equal(["de", String(miss.bytes)]);
      }
    });
  });
