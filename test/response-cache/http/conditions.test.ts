import { createReadStream, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import express from "express";
import type { RequestHandler } from "express";
import type { Context, Middleware } from "koa";
import conditional from "koa-conditional-get";
import koaStatic from "koa-static";
import { comparable, expressGrounds, koaGrounds } from "../../support/in-front.js";
import type { Ask } from "../../support/in-front.js";
import { until } from "../../support/until.js";

const directory = mkdtempSync(join(tmpdir(), "portcullis-"));
const modified = "Tue, 24 Nov 2026 10:00:00 GMT";
/** More than may be stored. */
const large = 1_200_000;

before(() => {
  mkdirSync(join(directory, "long"));
  for (const [name, size] of Object.entries({ "app.js": 200_000, "long/app.js": 200_000, "long/big.bin": large })) {
    writeFileSync(join(directory, name), Buffer.alloc(size, "x"));
    utimesSync(join(directory, name), new Date(modified), new Date(modified));
  }
});
after(() => rmSync(directory, { recursive: true }));

const file = (): ReturnType<typeof createReadStream> => createReadStream(join(directory, "app.js"));

/** Handlers that state validators, by the freshness of what they make: it is stored, or not. */
const ofExpress: Record<string, RequestHandler> = {
  "app.js": express.static(directory),
  "long/app.js": express.static(directory, { maxAge: "1h" }),
  "long/big.bin": express.static(directory, { maxAge: "1h" }),
  sendFile: (_req, res) => res.sendFile("app.js", { root: directory }),
  private: (_req, res) => {
    res.set({ ETag: '"v1"', "Last-Modified": modified, "Cache-Control": "private", "X-Own": "1" });
    res.cookie("a", "1").json({ n: 1 });
  },
  public: (_req, res) => {
    res.set({ ETag: '"v1"', "Last-Modified": modified, "Cache-Control": "max-age=60", "X-Own": "1" });
    res.json({ n: 1 });
  },
};

const ofKoa: Record<string, Middleware> = {
  "app.js": koaStatic(directory) as Middleware,
  "long/app.js": koaStatic(directory, { maxage: 3_600_000 }) as Middleware,
  "long/big.bin": koaStatic(directory, { maxage: 3_600_000 }) as Middleware,
  stream: (ctx) => answer(ctx, "no-cache", file()),
  "fresh-stream": (ctx) => answer(ctx, "max-age=60", file()),
  private: (ctx) => answer(ctx, "private", { n: 1 }),
  public: (ctx) => answer(ctx, "max-age=60", { n: 1 }),
  "looks-itself": (ctx) => {
    answer(ctx, "no-cache", file());
    if (ctx.fresh) ctx.status = 304;
  },
};

function answer(ctx: Context, control: string, body: unknown): void {
  ctx.set({ "Last-Modified": modified, "Cache-Control": control, "X-Own": "1" });
  ctx.etag = "v1";
  ctx.body = body;
  ctx.cookies.set("a", "1", { overwrite: true });
}

/** Conditions, and whether the response that has these validators is not sent again. */
function conditions(etag: string | undefined): (readonly [Record<string, string>, boolean])[] {
  const tags = [[{ "if-none-match": '"other"' }, false]] as (readonly [Record<string, string>, boolean])[];
  if (etag !== undefined)
    tags.push(
      [{ "if-none-match": `"other", ${etag}` }, true],
      [{ "if-none-match": `W/${etag.replace("W/", "")}` }, true],
      [{ "if-none-match": etag, "cache-control": "no-cache" }, false],
    );
  return [
    ...tags,
    [{ "if-none-match": "*" }, true],
    [{ "if-modified-since": modified }, true],
    [{ "if-modified-since": "Tue, 24 Nov 2026 09:59:59 GMT" }, false],
  ];
}

/** Asks with every condition, before anything is stored and after. */
async function expectConditionsAnswered(plain: Ask, open: () => Promise<Ask>, path: string, frameworkJudges: boolean) {
  const whole = await plain(`/${path}`);
  const { etag } = whole.headers as { etag?: string };
  const cached = await open();
  for (const [headers, spared] of conditions(etag)) {
    const what = `${path} with ${JSON.stringify(headers)}`;
    const expected = await plain(`/${path}`, { headers });
    // A path that nobody has asked for yet, then one that may be stored.
    for (const query of [`?fresh=${encodeURIComponent(JSON.stringify(headers))}`, "", ""]) {
      const { status, bytes, headers: fields } = await cached(`/${path}${query}`, { headers });
      expect([status, bytes.length], what).to.deep.equal(spared ? [304, 0] : [200, whole.bytes.length]);
      if (frameworkJudges)
        expect(comparable({ status, bytes, headers: fields }), what).to.deep.equal(comparable(expected));
      for (const name of ["etag", "cache-control", "last-modified", "x-own"])
        expect(fields[name], `${what}: ${name}`).to.equal(whole.headers[name]);
    }
    await cached(`/${path}`);
  }
}

for (const ground of expressGrounds) {
  describe(`conditions at the response cache on ${ground.name}`, () => {
    it("are answered as without the cache: files, streams, stored and unstored responses", async () => {
      const behind = Object.entries(ofExpress);
      const plain = await ground.serve({ behind }, false);
      for (const [path] of behind)
        await expectConditionsAnswered(plain, () => ground.serve({ behind }, { etag: false }), path, true);
    });

    it("abort no file for its sender, and are answered although a body has no end", async () => {
      const ends: unknown[] = [];
      const sent: RequestHandler = (_req, res) =>
        res.sendFile("app.js", { root: directory }, (error) => ends.push(error));
      const endless: RequestHandler = (_req, res) => {
        res.set({ ETag: '"v1"', "Cache-Control": "no-cache" });
        const timer = setInterval(() => res.write("x"), 10);
        res.on("close", () => clearInterval(timer));
        res.write("x");
      };
      const ask = await ground.serve(
        {
          behind: [
            ["sent", sent],
            ["endless", endless],
          ],
        },
        { etag: false },
      );
      const { etag } = (await ask("/sent")).headers as { etag: string };
      expect((await ask("/sent", { headers: { "if-none-match": etag } })).status).to.equal(304);
      expect((await ask("/endless", { headers: { "if-none-match": '"v1"' } })).status).to.equal(304);
      await until(() => ends.length === 2);
      expect(ends).to.deep.equal([undefined, undefined]);
    });

    it("of HEAD are answered as those of GET, and parts of a file are sent as parts", async () => {
      const behind = Object.entries(ofExpress);
      const plain = await ground.serve({ behind }, false);
      const cached = await ground.serve({ behind }, { etag: false });
      for (const path of ["app.js", "long/app.js", "long/big.bin"]) {
        const { etag } = (await plain(`/${path}`)).headers as { etag: string };
        for (let round = 0; round < 2; round += 1) {
          const head = { method: "HEAD", headers: { "if-none-match": etag } };
          expect((await cached(`/${path}`, head)).status, path).to.equal(304);
          const part = { headers: { range: "bytes=1-3" } };
          const answered = await cached(`/${path}`, part);
          expect(answered.status).to.equal(206);
          expect(comparable(answered), path).to.deep.equal(comparable(await plain(`/${path}`, part)));
          await cached(`/${path}`);
        }
      }
    });
  });
}

for (const ground of koaGrounds) {
  describe(`conditions at the response cache on ${ground.name}`, () => {
    for (const [what, front] of [
      ["by the cache alone", []],
      ["by middleware in front", [conditional()]],
    ] as const) {
      it(`are answered ${what}: files, streams, stored and unstored responses`, async () => {
        const behind = Object.entries(ofKoa);
        const judged = await ground.serve({ front: [conditional()], behind }, false);
        for (const [path] of behind) {
          const open = (): Promise<Ask> => ground.serve({ front, behind }, { etag: false });
          // A 304 of Koa keeps some fields about the body that it does not have.
          await expectConditionsAnswered(judged, open, path, false);
        }
      });
    }

    it("are answered by the cache's own entity tag of the sent body, whatever middleware in front does to it", async () => {
      let time = 0;
      const envelope: Middleware = async (ctx, next) => {
        await next();
        ctx.body = { time, data: ctx.body as unknown };
      };
      const behind = [["a", (ctx: Context) => (ctx.body = { n: 1 })]] as never;
      const cached = await ground.serve({ front: [envelope], behind }, { ttl: "1m" });
      const tags: string[] = [];
      for (time of [1, 1, 2]) {
        const { headers, status } = await cached("/a", { headers: { "if-none-match": tags.at(-1) ?? '"none"' } });
        tags.push(String(headers.etag));
        expect(status).to.equal(tags.length === 2 ? 304 : 200);
      }
      expect(tags[1]).to.equal(tags[0]).and.not.to.equal(tags[2]);
    });
  });
}
