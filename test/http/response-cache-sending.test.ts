import { PassThrough, Readable } from "node:stream";
import { runInNewContext } from "node:vm";
import type { ServerResponse } from "node:http";
import { expect } from "chai";
import type { RequestHandler } from "express";
import type { Context, Middleware } from "koa";
import { comparable, expressGrounds, koaGrounds } from "../support/in-front.js";
import type { Ask, Ground } from "../support/in-front.js";

/** Ways to send that throw, when nothing has been sent. */
const failing: Record<string, (res: ServerResponse) => unknown> = {
  "write no chunk": (res) => res.write(undefined),
  "write an object": (res) => res.write({}),
  "end with a number": (res) => res.end(5),
  "end with an object": (res) => res.end({}),
  "end with another view": (res) => res.end(new DataView(new ArrayBuffer(4))),
  "a reason that may not be": (res) => {
    res.statusMessage = "\u2713";
    res.end("body");
  },
  "a reason that may not be, and parts": (res) => {
    res.statusMessage = "\u2713";
    res.write("body");
  },
  "no head with a reason that may not be": (res) => res.writeHead(200, "\u2713"),
  "a field without a value": (res) => res.writeHead(200, { "X-Own": undefined }).end("body"),
};

const bytes = (): Uint8Array => runInNewContext("new Uint8Array([104, 101, 108, 108, 111])") as Uint8Array;

const whole: Record<string, (res: ServerResponse) => unknown> = {
  "bytes of another realm": (res) => res.end(bytes()),
  "bytes of another realm in parts": (res) => {
    res.write(bytes());
    res.end(" more");
  },
};

type Way = (res: ServerResponse) => unknown;

/** Sends, or answers the error, as frameworks do. */
function attempt(way: Way, res: ServerResponse): void {
  try {
    way(res);
  } catch {
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    res.statusCode = 500;
    res.statusMessage = "";
    res.end("failed");
  }
}

const byExpress = Object.assign(
  (way: Way): RequestHandler =>
    (_req, res) =>
      attempt(way, res),
  {
    front: ((_req, res, next) => (res.setHeader("valueOf", "front"), next())) as RequestHandler,
  },
);

const byKoa = Object.assign(
  (way: Way): Middleware =>
    (ctx) => {
      ctx.respond = false;
      attempt(way, ctx.res);
    },
  { front: ((ctx, next) => (ctx.res.setHeader("valueOf", "front"), next())) as Middleware },
);

async function serveBoth<M>(ground: Ground<M>, handlers: readonly (readonly [string, M])[], front: readonly M[] = []) {
  const layers = { front, behind: handlers };
  return { plain: await ground.serve(layers, false), cached: await ground.serve(layers, { ttl: "1m", etag: false }) };
}

/** What an application says with the cache, twice, and without: the status, the fields and the body. */
async function expectSame(plain: Ask, cached: Ask, name: string, reused: boolean): Promise<void> {
  const path = `/${encodeURIComponent(name)}`;
  const expected = comparable(await plain(path));
  for (let round = 0; round < 2; round += 1) {
    const answer = await cached(path);
    expect(comparable(answer), name).to.deep.equal(expected);
    const isReused = String(answer.headers["cache-status"]).includes("hit");
    expect(isReused, name).to.equal(reused && round === 1);
  }
}

/** How a framework is given a handler, and middleware in front that sets a field. */
interface Binding<M> {
  (way: Way): M;
  readonly front: M;
}

function describeSending<M>(grounds: readonly Ground<M>[], bind: Binding<M>): void {
  for (const ground of grounds) {
    describe(`a handler that sends by itself, behind the response cache on ${ground.name}`, () => {
      it("leaves nothing for others where sending throws: no empty body, and no answer to the error under its status", async () => {
        const ways = Object.entries(failing).map(([name, way]) => [name, bind(way)] as const);
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) await expectSame(plain, cached, name, false);
      });

      it("may give fields the names of what every object has, and let a response be chosen by them", async () => {
        const ways = Object.entries(named).map(([name, way]) => [name, bind(way)] as const);
        const { plain, cached } = await serveBoth(ground, ways, [bind.front]);
        for (const [name] of ways) await expectSame(plain, cached, name, true);
      });

      it("has all that it sends stored, also bytes of another realm", async () => {
        const ways = Object.entries(whole).map(([name, way]) => [name, bind(way)] as const);
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) await expectSame(plain, cached, name, true);
      });
    });
  }
}

describeSending(expressGrounds, byExpress);
// The compatible API of HTTP/2 sends a head before it looks at the body.
describeSending(
  koaGrounds.filter(({ name }) => name.includes("HTTP/1")),
  byKoa,
);

/** What every object has, as names of fields. */
const inherited = ["__proto__", "constructor", "toString", "hasOwnProperty"];

const named: Record<string, (res: ServerResponse) => unknown> = {
  fields: (res) => {
    for (const name of inherited) res.setHeader(name, "own");
    res.removeHeader("valueOf");
    res.end("body");
  },
  choosing: (res) => {
    res.setHeader("Vary", inherited);
    res.end("body");
  },
};

const validators = { ETag: '"v1"', "Cache-Control": "max-age=60", "Content-Type": "text/plain" };

/** A 304 that is decided when the first part of a body is there has these, whatever happens after that. */
const kept = { etag: '"v1"', "cache-control": "max-age=60", "content-type": undefined, "content-length": undefined };

async function expectKept(ask: Ask, path: string): Promise<void> {
  const { status, headers, bytes: body } = await ask(path, { headers: { "if-none-match": '"v1"' } });
  const { etag, "cache-control": control, "content-type": type, "content-length": length } = headers;
  expect({ etag, "cache-control": control, "content-type": type, "content-length": length }, path).to.deep.equal(kept);
  expect({ status, body: body.toString() }, path).to.deep.equal({ status: 304, body: "" });
}

for (const ground of expressGrounds) {
  it(`a 304 has the fields of its response on ${ground.name}, although its handler fails after that`, async () => {
    const ask = await ground.serve(
      {
        behind: [
          [
            "answers",
            (_req, res) => {
              res.set(validators).write("part");
              setImmediate(() => {
                res.removeHeader("ETag");
                res.status(500).set({ "Content-Type": "text/html", "Content-Length": "6" });
                res.end("failed");
              });
            },
          ],
          [
            "looks",
            (_req, res) => {
              res.set(validators).write("part");
              // Whoever looks leaves it alone, as frameworks do.
              if (!res.headersSent) res.removeHeader("ETag");
              res.end();
            },
          ],
        ],
      },
      { ttl: "1m" },
    );
    for (const path of ["/answers", "/looks"]) await expectKept(ask, path);
  });
}

for (const ground of koaGrounds) {
  it(`a 304 has the fields of its response on ${ground.name}, although its stream fails, or its body comes later`, async () => {
    const ask = await ground.serve(
      {
        behind: [
          [
            "fails",
            (ctx) => {
              const stream = new PassThrough();
              stream.write("part");
              setImmediate(() => stream.destroy(new Error("lost")));
              ctx.set(validators);
              ctx.body = stream;
            },
          ],
          [
            "flushes",
            (ctx) => {
              ctx.status = 200;
              ctx.set(validators);
              ctx.flushHeaders();
              ctx.body = { later: true };
            },
          ],
        ],
      },
      { ttl: "1m" },
    );
    // Koa 3 breaks off what fails.
    const paths = ground.name.startsWith("Koa 2") ? ["/flushes", "/fails"] : ["/flushes"];
    for (const path of paths) await expectKept(ask, path);
  });

  it(`a stream of texts is stored as it is written on ${ground.name}, whatever it was decoded from`, async () => {
    const encodings = ["latin1", "hex", "base64", "utf16le", "utf8"] as const;
    const handlers = encodings.map((encoding) => {
      const handle = (ctx: Context): void => {
        const bytes = Buffer.from("a\u00e4o\u00f6", "latin1");
        ctx.body = Readable.from([bytes], { objectMode: false }).setEncoding(encoding);
      };
      return [encoding, handle as Middleware] as const;
    });
    const { plain, cached } = await serveBoth(ground, handlers);
    for (const encoding of encodings) await expectSame(plain, cached, encoding, true);
  });

  it(`a status that was set past the context is not lost on ${ground.name}`, async () => {
    const { plain, cached } = await serveBoth(ground, [["past", (ctx) => void (ctx.res.statusCode = 200)]]);
    await expectSame(plain, cached, "past", false);
  });
}

for (const ground of koaGrounds.filter(({ name }) => name.startsWith("Koa 2"))) {
  it(`a body of the web is JSON on ${ground.name}, as it is without the cache`, async () => {
    const bodies = [new Blob(["one"]), new Response("one"), new Blob(["one"]).stream()];
    const handlers = bodies.map(
      (body, index) => [`${index}`, ((ctx) => void (ctx.body = body)) as Middleware] as const,
    );
    const { plain, cached } = await serveBoth(ground, handlers);
    for (const [name] of handlers) await expectSame(plain, cached, name, true);
  });
}
