import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import etag from "@koa/etag";
import compression from "compression";
import { expect } from "chai";
import type { Request, RequestHandler, Response as ExpressResponse } from "express";
import type { Context, Middleware, Next } from "koa";
import compress from "koa-compress";
import conditional from "koa-conditional-get";
import onHeaders from "on-headers";
import { comparable, expressGrounds, koaGrounds } from "../../support/in-front.js";
import type { Ground } from "../../support/in-front.js";

const long = "portcullis ".repeat(400);

interface Comparison {
  /** Are the responses stored? @default true */
  readonly stored?: boolean;
  readonly methods?: readonly ("GET" | "HEAD")[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** Asks the same application without the cache, with it for the first time, and for a stored response. */
async function expectSameAnswers<M>(
  ground: Ground<M>,
  front: readonly M[],
  handlers: Readonly<Record<string, M>>,
  { stored = true, methods = ground.methods, headers = { "accept-encoding": "gzip" } }: Comparison = {},
): Promise<void> {
  const behind = [...Object.entries(handlers)];
  const plain = await ground.serve({ front, behind }, false);
  const cached = await ground.serve({ front, behind }, { ttl: "1m", etag: false });
  for (const what of Object.keys(handlers)) {
    const path = `/${encodeURIComponent(what)}`;
    const made = await cached(path, { headers });
    expect(comparable(made), `${what}, made`).to.deep.equal(comparable(await plain(path, { headers })));
    for (const method of methods) {
      const again = await cached(path, { headers, method });
      expect(String(again.headers["cache-status"]).includes("hit"), what).to.equal(stored);
      const expected = comparable(await plain(path, { headers, method }));
      expect(comparable(again), `${what}, ${method}`).to.deep.equal(expected);
    }
  }
}

const koaHandlers: Record<string, (ctx: Context) => void> = {
  JSON: (ctx) => (ctx.body = { n: 1, made: new Date(0), none: undefined, list: [1, "2"] }),
  "a number": (ctx) => (ctx.body = 5),
  false: (ctx) => (ctx.body = false),
  "JSON with a type of its own": (ctx) => {
    ctx.body = { title: "a" };
    ctx.type = "application/problem+json";
  },
  text: (ctx) => (ctx.body = "text"),
  HTML: (ctx) => (ctx.body = "<p>text</p>"),
  "a long text": (ctx) => (ctx.body = long),
  bytes: (ctx) => (ctx.body = Buffer.from([0xff, 0, 0xfe])),
  "no bytes": (ctx) => (ctx.body = Buffer.alloc(0)),
  "bytes without a type": (ctx) => {
    ctx.body = Buffer.from("x");
    ctx.remove("Content-Type");
  },
  "a short stream": (ctx) => (ctx.body = Readable.from([Buffer.from("one "), Buffer.from("two")])),
  "an empty stream": (ctx) => (ctx.body = Readable.from([])),
  "a text stream": (ctx) => {
    ctx.type = "text/plain";
    ctx.body = new Readable({ encoding: "utf8", read() {} }).setEncoding("utf8");
    (ctx.body as Readable).push(Buffer.from(`${long}\u00e4`));
    (ctx.body as Readable).push(null);
  },
  "a stream with a length": (ctx) => {
    ctx.type = "text/plain";
    ctx.body = Readable.from([Buffer.from("one "), Buffer.from("two")]);
    ctx.length = 7;
  },
  "an explicit null": (ctx) => (ctx.body = null),
  "null with a status": (ctx) => {
    ctx.body = null;
    ctx.status = 200;
  },
  "a status alone": (ctx) => (ctx.status = 410),
  "404 as its status": (ctx) => (ctx.status = 404),
  nothing: () => undefined,
  "404 with a body": (ctx) => {
    ctx.status = 404;
    ctx.body = { error: "no such order" };
  },
  "a redirect": (ctx) => {
    ctx.status = 301;
    ctx.redirect("/b");
  },
  "fields of its own": (ctx) => {
    ctx.set("X-Own", ["a", "b"]);
    ctx.append("X-Front", "behind");
    ctx.remove("X-Removed");
    ctx.vary("Accept");
    ctx.body = "x";
  },
  "what it writes itself": (ctx) => {
    ctx.respond = false;
    ctx.res.writeHead(200, { "content-type": "text/plain" });
    ctx.res.write("one ");
    ctx.res.end("two");
  },
};

/** For each context that it sees, before the response and after. */
function look(seen: unknown[]): Middleware {
  return async (ctx, next) => {
    await next();
    const { status, type, length, body } = ctx as Context & { body: unknown };
    const kind = body instanceof Readable ? "stream" : Buffer.isBuffer(body) ? "bytes" : typeof body;
    const value = body instanceof Readable ? "stream" : body;
    const fields = Object.entries(ctx.res.getHeaders())
      .filter(([name]) => name !== "cache-status" && name !== "age")
      .map(([name, text]) => `${name}: ${[text].flat().join(", ")}`);
    seen.push({
      status,
      type,
      length,
      kind,
      value,
      fields: fields.sort(),
      condition: ctx.headers["if-none-match"],
    });
  };
}

const koaFronts: Record<string, () => Middleware[]> = {
  "an envelope": () => [
    async (ctx, next) => {
      await next();
      if (ctx.body !== undefined && !(ctx.body instanceof Readable))
        ctx.body = { ok: ctx.status < 400, data: ctx.body as unknown };
    },
  ],
  "a page for 404": () => [
    async (ctx, next) => {
      await next();
      if (ctx.status === 404 && !ctx.body) ctx.body = "nothing here";
    },
  ],
  compression: () => [compress({ threshold: 1024, br: false })],
  "compression of everything": () => [compress({ threshold: 0, br: false })],
  "entity tags and conditions": () => [conditional(), etag()],
  "fields that are set before and after": () => [
    async (ctx, next) => {
      ctx.set("X-Front", "before");
      ctx.set("X-Removed", "before");
      ctx.vary("Origin");
      await next();
      ctx.set("X-After", ctx.type === "" ? "none" : ctx.type);
      ctx.append("X-Front", "after");
    },
  ],
  "a type that is set before": () => [
    async (ctx, next) => {
      ctx.type = "text/x-front";
      await next();
    },
  ],
  "a wrapped writeHead": () => [
    async (ctx: Context, next: Next) => {
      onHeaders(ctx.res, function (this: ServerResponse) {
        this.setHeader("X-Late", String(this.getHeader("content-type")));
      });
      await next();
    },
  ],
  "a change in place": () => [
    async (ctx, next) => {
      await next();
      if (
        typeof ctx.body === "object" &&
        ctx.body !== null &&
        !(ctx.body instanceof Readable) &&
        !Buffer.isBuffer(ctx.body)
      )
        (ctx.body as { n?: number }).n = ((ctx.body as { n?: number }).n ?? 0) + 1;
    },
  ],
};

for (const ground of koaGrounds) {
  describe(`middleware in front of the response cache on ${ground.name}`, () => {
    for (const [what, front] of Object.entries(koaFronts)) {
      it(`treats a stored response and a new one alike: ${what}`, async () => {
        await expectSameAnswers(ground, front(), koaHandlers);
      });
    }

    it("sees the same status, type, length, fields and kind of body", async () => {
      for (const [name, handle] of Object.entries(koaHandlers)) {
        const seen: unknown[] = [];
        const ask = await ground.serve({ front: [look(seen)], behind: [["a", handle]] }, { ttl: "1m" });
        const headers = { "if-none-match": '"other"' };
        for (let round = 0; round < 2; round += 1) await ask("/a", { headers });
        expect(seen).to.have.length(2);
        expect(seen[1], name).to.deep.equal(seen[0]);
        expect(seen[0], name).to.include({ condition: '"other"' });
      }
    });

    it("gets a response that cannot be repeated unchanged, and it is not stored", async () => {
      const bodies: Record<string, (ctx: Context) => void> = {
        "a value that becomes a text": (ctx) => (ctx.body = new Date(0)),
        "a value that becomes null": (ctx) => (ctx.body = { toJSON: () => null }),
        "a reason phrase": (ctx) => {
          ctx.status = 404;
          if (ctx.req.httpVersionMajor === 1) ctx.message = "No such order";
          else ctx.body = new Date(0);
        },
      };
      await expectSameAnswers(ground, koaFronts["an envelope"]?.() ?? [], bodies, { stored: false });
    });

    it("gets every error of a handler, and no error is stored", async () => {
      const heard: string[] = [];
      const catchErrors: Middleware = async (ctx, next) => {
        try {
          await next();
        } catch (error) {
          const { status = 500, message } = error as { status?: number; message: string };
          heard.push(message);
          ctx.status = status;
          ctx.set("Cache-Control", "max-age=60");
          ctx.body = { error: message };
        }
      };
      const failures = [404, 410, 500].map((status) => [
        `${status}`,
        (ctx: Context) => ctx.throw(status, `no ${status}`),
      ]);
      await expectSameAnswers(ground, [catchErrors], Object.fromEntries(failures) as Record<string, Middleware>, {
        stored: false,
      });
      // With the cache and without: one, and one for each method.
      expect(heard).to.have.length(3 * 2 * (1 + ground.methods.length));
    });
  });
}

describe("a body of the web", () => {
  for (const ground of koaGrounds.filter(({ name }) => name.startsWith("Koa over"))) {
    it(`is stored on ${ground.name} as the stream that Koa makes of it`, async () => {
      const bodies: Record<string, () => unknown> = {
        blob: () => new Blob(["one ", "two"], { type: "text/plain" }),
        response: () => new Response("one two", { headers: { "x-own": "1", "content-type": "text/plain" } }),
        stream: () => new Blob([long]).stream(),
      };
      const handlers = Object.entries(bodies).map(([name, make]) => [name, (ctx: Context) => (ctx.body = make())]);
      // Koa states another length for HEAD than the body has.
      await expectSameAnswers(ground, [], Object.fromEntries(handlers) as Record<string, Middleware>, {
        methods: ["GET"],
      });
    });
  }
});

const expressHandlers: Record<string, RequestHandler> = {
  JSON: (_req, res) => void res.json({ n: 1, made: new Date(0) }),
  text: (_req, res) => void res.send("text"),
  "a long text": (_req, res) => void res.send(long),
  bytes: (_req, res) => void res.send(Buffer.from([0xff, 0, 0xfe])),
  "a bare end": (_req, res) => void res.end("bare"),
  "a long bare end": (_req, res) => void res.type("text/plain").end(long),
  "a short stream": (_req, res) => void Readable.from([Buffer.from("one "), Buffer.from("two")]).pipe(res.type("txt")),
  "an empty stream": (_req, res) => void Readable.from([]).pipe(res.type("txt")),
  "a stream with a length": (_req, res) =>
    void Readable.from([Buffer.from("one "), Buffer.from("two")]).pipe(res.type("txt").set("Content-Length", "7")),
  "writeHead and end": (_req, res) => void res.writeHead(200, { "X-Own": "1", "Content-Type": "text/plain" }).end(long),
  "a status alone": (_req, res) => void res.sendStatus(204),
  "a redirect": (_req, res) => res.redirect(301, "/b"),
  "404": (_req, res) => void res.status(404).json({ error: "none" }),
  "removed fields": (_req, res) => {
    for (const name of ["X-Powered-By", "X-Front"]) res.removeHeader(name);
    res.json({});
  },
};

const expressFronts: Record<string, () => RequestHandler[]> = {
  compression: () => [compression()],
  "compression of everything": () => [compression({ threshold: 0 })],
  "an envelope by res.json": () => [
    (_req, res, next) => {
      const json = res.json.bind(res);
      res.json = (value) => json({ ok: true, data: value as unknown });
      next();
    },
  ],
  "an envelope by res.send": () => [
    (_req, res, next) => {
      const send = res.send.bind(res);
      res.send = (value) => {
        res.send = send;
        return send(typeof value === "string" && !value.startsWith("{") ? `<${value}>` : value);
      };
      next();
    },
  ],
  "a field set in a wrapped writeHead": () => [
    (_req, res, next) => {
      onHeaders(res, function (this: ServerResponse) {
        this.setHeader("X-Late", String(this.getHeader("content-type")));
      });
      next();
    },
  ],
  "a change by write and end": () => [shout],
  "fields that are set before": () => [
    (_req, res, next) => {
      res.set("X-Front", "before").vary("Origin");
      next();
    },
  ],
};

/** Changes every byte of the body, in front. */
function shout(_req: Request, res: ExpressResponse, next: () => void): void {
  const write = res.write.bind(res) as (chunk: unknown, ...rest: unknown[]) => boolean;
  const end = res.end.bind(res) as (chunk?: unknown, ...rest: unknown[]) => ExpressResponse;
  const louder = (chunk: unknown): unknown =>
    typeof chunk === "string" || chunk instanceof Uint8Array
      ? Buffer.from(chunk).toString("latin1").toUpperCase()
      : chunk;
  res.write = ((chunk: unknown) => write(louder(chunk), "latin1")) as typeof res.write;
  res.end = ((chunk?: unknown) => end(louder(chunk), "latin1")) as typeof res.end;
  next();
}

for (const ground of expressGrounds) {
  describe(`middleware in front of the response cache on ${ground.name}`, () => {
    for (const [what, front] of Object.entries(expressFronts)) {
      it(`treats a stored response and a new one alike: ${what}`, async () => {
        await expectSameAnswers(ground, front(), expressHandlers);
      });
    }
  });
}
