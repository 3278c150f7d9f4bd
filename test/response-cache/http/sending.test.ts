import { PassThrough, Readable } from "node:stream";
import { runInNewContext } from "node:vm";
import type { ServerResponse } from "node:http";
import { expect } from "chai";
import type { RequestHandler } from "express";
import type { Context, Middleware } from "koa";
import { comparable, expressGrounds, koaGrounds } from "../../support/in-front.js";
import type { Ask, Ground } from "../../support/in-front.js";

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

/** Ways to send that throw, of a response that says that it may be stored. */
const failingFresh: Record<string, (res: ServerResponse) => unknown> = {
  ...failing,
  "write null": (res) => res.write(null),
  "write an object after a part": (res) => (res.write("part"), res.write({ a: 1 })),
  "a field that may not be": (res) => res.writeHead(200, { "x-a": "a\nb" }),
  "a list of fields that may not be": (res) => res.writeHead(200, ["x-a", "a\nb"]),
  "a field that may not be, and a reason": (res) => res.writeHead(200, "OK", { "x a": "b" }),
  "a status that may not be": (res) => res.writeHead(20_000),
  "a status that is none": (res) => res.writeHead("none" as never),
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

/** Answers an error with the status and the fields of the response that failed. */
function attemptFresh(way: Way, res: ServerResponse): void {
  res.setHeader("Cache-Control", "max-age=60");
  try {
    way(res);
  } catch {
    res.statusMessage = "";
    if (!res.writableEnded) res.end("ERROR PAGE");
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

      it("leaves nothing for others where the answer to the error keeps the status and the fields", async () => {
        const ways = Object.entries(failingFresh).map(
          ([name, way]) => [name, bind((res) => attemptFresh(way, res))] as const,
        );
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) await expectSame(plain, cached, name, false);
      });

      it("is answered by its error handler where a head fails once that says 304 or 412", async () => {
        const ways = conditional.map(([name, way]) => [name, bind(failOnce(way))] as const);
        const cached = await ground.serve({ behind: ways }, { ttl: "1m" });
        for (const [name] of ways)
          for (const method of ground.methods)
            for (const headers of [{ "if-none-match": '"x"' }, { "if-none-match": "*" }, { "if-match": '"y"' }])
              for (let round = 0; round < 2; round += 1)
                await expectFailed(cached, `/${encodeURIComponent(name)}`, { method, headers });
      });

      it("is answered by its error handler with all that this gives writeHead", async () => {
        const page = { "Content-Type": "text/plain", "Content-Length": 6, "Cache-Control": "no-store" };
        const ways = Object.entries(starts).map(([name, start]) => {
          const way = bind((res) => {
            res.setHeader("Cache-Control", "max-age=60");
            try {
              failOnce(start)(res);
            } catch {
              res.writeHead(500, "Broken", page);
              res.end("failed");
            }
          });
          return [name, way] as const;
        });
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) await expectSame(plain, cached, name, false);
      });

      it("is sent with the head that middleware behind the cache makes of it, and stored only if that head allows it", async () => {
        const ways = Object.entries(starts).flatMap(([name, start]) =>
          Object.entries(lateHeads).map(
            ([head, { rest }]) => [`${name}, ${head}`, bind(makeHead(rest, start))] as const,
          ),
        );
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) {
          const isStored = Object.entries(lateHeads).some(([head, late]) => late.isStored && name.endsWith(head));
          await expectSame(plain, cached, name, isStored);
        }
      });

      it("answers a condition if the response announces trailers, or ends with a value that Node ignores", async () => {
        const ends: Record<string, (res: ServerResponse) => unknown> = {
          "a trailer": (res) => (res.setHeader("Trailer", "X-T"), res.end("page")),
          "a trailer, in parts": (res) => (res.setHeader("Trailer", "X-T"), res.write("pa"), res.end("ge")),
          false: (res) => res.end(false),
          zero: (res) => res.end(0),
        };
        const ways = Object.entries(ends).map(([name, way]) => {
          const handle = bind((res) => {
            res.statusCode = 200;
            res.setHeader("ETag", '"v"');
            return way(res);
          });
          return [name, handle] as const;
        });
        const cached = await ground.serve({ behind: ways }, { ttl: "1m" });
        for (const [name] of ways)
          for (const ifNoneMatch of ['"v"', "*", '"v"']) {
            const path = `/${encodeURIComponent(name)}`;
            const { status } = await cached(path, { headers: { "if-none-match": ifNoneMatch } });
            expect(status, `${name} ${ifNoneMatch}`).to.equal(304);
          }
      });

      it("leaves nothing for others where it destroys its connection, although the length is right", async () => {
        const breaks: Record<string, (res: ServerResponse) => unknown> = {
          "the response, and an end": (res) => (res.destroy(), res.end("fin")),
          "the response, and parts": (res) => (res.destroy(), res.write("fi"), res.end("n")),
          "the connection": (res) => (res.req.socket.destroy(), res.end("fin")),
        };
        let hasBroken = false;
        const ways = Object.entries(breaks).map(([name, way]) => {
          const handle = bind((res) => {
            res.statusCode = 200;
            res.setHeader("Content-Length", 3);
            return hasBroken ? res.end("new") : way(res);
          });
          return [name, handle] as const;
        });
        const cached = await ground.serve({ behind: ways }, { ttl: "1m" });
        for (const round of [0, 1])
          for (const [name] of ways) {
            hasBroken = round === 1;
            const answer = await cached(`/${encodeURIComponent(name)}`).catch(() => undefined);
            expect(answer?.bytes.toString(), name).to.equal(round === 0 ? undefined : "new");
          }
      });

      it("leaves nothing for others where a hook of its head sends something else, or destroys the connection", async () => {
        const hooks: Record<string, (res: ServerResponse) => unknown> = {
          "ends it": (res) => res.end("denied"),
          "writes first": (res) => res.write("denied"),
          "destroys the connection": (res) => res.req.socket.destroy(),
        };
        const ways = Object.entries(hooks).flatMap(([name, hook]) =>
          Object.entries(starts).map(([start, way]) => [`${name}, ${start}`, hook, way] as const),
        );
        const handlers = ways.map(([name, hook, way]) => {
          const handle = bind((res) => {
            res.statusCode = 200;
            res.setHeader("Content-Length", 4);
            hookHead(res, hook);
            try {
              return way(res);
            } catch {
              return res.destroy();
            }
          });
          return [name, handle] as const;
        });
        const cached = await ground.serve({ behind: handlers }, { ttl: "1m" });
        for (const [name] of ways)
          for (let round = 0; round < 2; round += 1) {
            const answer = await cached(`/${encodeURIComponent(name)}`).catch(() => undefined);
            expect(String(answer?.headers["cache-status"]), name).not.to.include("hit");
          }
      });

      it("may send its head by a function that middleware in front has kept", async () => {
        const kept =
          (way: Way): Way =>
          (res) => {
            const writeHead = Object.getPrototypeOf(res) as {
              writeHead(this: ServerResponse, status: number): unknown;
            };
            writeHead.writeHead.call(res, 200);
            return way(res);
          };
        const ways = Object.entries(starts).map(([name, way]) => [name, bind(kept(way))] as const);
        const { plain, cached } = await serveBoth(ground, ways);
        for (const [name] of ways) await expectSame(plain, cached, name, false);
      });

      it("may use names of Object.prototype as field names, also in Vary", async () => {
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

/** Ways to begin and end a response. */
const starts: Record<string, Way> = {
  whole: (res) => res.end("page"),
  "in parts": (res) => (res.write("pa"), res.end("ge")),
  flushed: (res) => (res.flushHeaders(), res.end("page")),
};

/** Arguments of `writeHead` that middleware behind the cache adds, and whether the response may be stored with them. */
const lateHeads: Record<string, { readonly isStored: boolean; readonly rest: readonly unknown[] }> = {
  private: { isStored: false, rest: [{ "Cache-Control": "private" }] },
  cookie: { isStored: false, rest: ["Fine", { "Set-Cookie": "a=1" }] },
  field: { isStored: true, rest: [{ "X-Late": "1" }] },
  list: { isStored: true, rest: [["X-Late", "1"]] },
};

/** A handler whose head is made with more by middleware behind the cache. */
function makeHead(rest: readonly unknown[], way: Way): Way {
  return (res) => {
    const writeHead = res.writeHead.bind(res) as (...given: unknown[]) => ServerResponse;
    res.writeHead = (status: number) => writeHead(status, ...rest);
    res.setHeader("Cache-Control", "max-age=60");
    res.statusCode = 200;
    return way(res);
  };
}

/** Responses with a condition that is met. */
const conditional: [string, Way][] = [
  ["whole", (res) => res.setHeader("ETag", '"x"').end("page")],
  ["in parts", (res) => (res.setHeader("ETag", '"x"').write("pa"), res.end("ge"))],
  ["written head", (res) => res.writeHead(200, { ETag: '"x"' }).end("page")],
];

/** A head that middleware fails to make once, as a session whose store does not answer. */
function failOnce(way: Way): Way {
  return (res) => {
    failHead(res);
    return way(res);
  };
}

/** Calls a hook once, before the head is made, as the package on-headers does. */
function hookHead(res: ServerResponse, hook: (res: ServerResponse) => unknown): void {
  const writeHead = res.writeHead.bind(res) as (...given: unknown[]) => ServerResponse;
  let isCalled = false;
  res.writeHead = function (...given: unknown[]) {
    if (!isCalled) {
      isCalled = true;
      hook(res);
    }
    return writeHead(...(res.statusCode === given[0] ? given : [res.statusCode]));
  };
}

function failHead(res: ServerResponse): void {
  const writeHead = res.writeHead.bind(res) as (...given: unknown[]) => ServerResponse;
  let hasFailed = false;
  res.writeHead = function (...given: unknown[]) {
    if (hasFailed) return writeHead(...given);
    hasFailed = true;
    throw new Error("the sessions do not answer");
  };
}

async function expectFailed(ask: Ask, path: string, options: Parameters<Ask>[1]): Promise<void> {
  const { status, headers } = await ask(path, options);
  expect(status, `${path} ${JSON.stringify(options)}`).to.equal(500);
  expect(String(headers["cache-status"])).not.to.include("stored");
  expect(String(headers["cache-status"])).not.to.include("hit");
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
                res.status(500).end("failed");
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

for (const ground of expressGrounds) {
  it(`a 304 whose head fails is answered with 500 on ${ground.name}, although its handler never ends`, async () => {
    const handle: RequestHandler = (_req, res) => failOnce(() => res.set(validators).write("part"))(res);
    const ask = await ground.serve({ behind: [["lasts", handle]] }, { ttl: "1m" });
    for (let round = 0; round < 2; round += 1) {
      const { status } = await ask("/lasts", { headers: { "if-none-match": '"v1"' } });
      expect(status).to.equal(500);
    }
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

for (const ground of koaGrounds) {
  for (const where of ["in front of", "behind"])
    it(`a response whose head fails ${where} the cache leaves nothing for others on ${ground.name}`, async () => {
      let calls = 0;
      const failing: Middleware = async (ctx, next) => {
        if (calls === 0) failHead(ctx.res);
        await next();
      };
      const handle = (ctx: Context): void => {
        calls += 1;
        ctx.body = `page ${calls}`;
      };
      const both: Middleware = async (ctx) => {
        await failing(ctx, () => Promise.resolve(handle(ctx)));
      };
      const behind = [["page", where === "behind" ? both : handle]] as const;
      const ask = await ground.serve({ front: where === "behind" ? [] : [failing], behind }, { ttl: "1m" });
      const first = await ask("/page");
      expect(first.status).to.equal(500);
      const second = await ask("/page");
      expect([second.status, second.bytes.toString()]).to.deep.equal([200, "page 2"]);
    });

  it(`a status or fields that middleware behind the cache sets late keep a response from others on ${ground.name}`, async () => {
    const hooks: Record<string, (res: ServerResponse) => unknown> = {
      "a failure": (res) => (res.statusCode = 503),
      "not found": (res) => (res.statusCode = 404),
      "stale at once": (res) => res.setHeader("Cache-Control", "max-age=0"),
    };
    const handlers = Object.entries(hooks).map(([name, hook]) => {
      const handle = (ctx: Context): void => {
        hookHead(ctx.res, hook);
        ctx.body = "page";
      };
      return [name, handle as Middleware] as const;
    });
    const { plain, cached } = await serveBoth(ground, handlers);
    for (const [name] of handlers) await expectSame(plain, cached, name, false);
  });

  it(`a response that its handler destroys leaves nothing for others on ${ground.name}`, async () => {
    const ways: readonly (readonly [string, Way])[] = [
      ["response", (res) => res.destroy()],
      ["response with an error", (res) => res.destroy(new Error("lost"))],
      ["socket", (res) => (res as { stream?: { destroy(): void } }).stream?.destroy() ?? res.socket?.destroy()],
    ];
    const calls = new Map<string, number>();
    const handlers = ways.flatMap(([name, destroy]) =>
      ["no body", "text"].map((kind) => {
        const handle = (ctx: Context): void => {
          const count = (calls.get(ctx.path) ?? 0) + 1;
          calls.set(ctx.path, count);
          if (kind === "text" || count > 1) ctx.body = "page";
          if (count === 1) destroy(ctx.res);
        };
        return [`${name}, ${kind}`, handle as Middleware] as const;
      }),
    );
    const ask = await ground.serve({ behind: handlers }, { ttl: "1m" });
    for (const [name] of handlers) {
      const path = `/${encodeURIComponent(name)}`;
      await ask(path).catch(() => undefined);
      const { status, bytes: body, headers } = await ask(path);
      expect([status, body.toString()], name).to.deep.equal([200, "page"]);
      expect(headers["cache-status"], name).to.include("fwd=uri-miss; stored");
    }
  });

  it(`a stored response stands in for an error that Koa sends by itself on ${ground.name}, with its body`, async () => {
    let hasBroken = false;
    // Stale when it comes.
    const makeOld = (res: ServerResponse): void => {
      res.setHeader("Cache-Control", "max-age=60, stale-if-error=60");
      res.setHeader("Age", "61");
    };
    const handlers: readonly (readonly [string, Middleware])[] = [
      [
        "sent by Koa",
        (ctx) => {
          ctx.respond = false;
          if (hasBroken) throw new Error("broken");
          ctx.res.statusCode = 200;
          makeOld(ctx.res);
          ctx.res.end("page");
        },
      ],
      [
        "in parts",
        (ctx) => {
          ctx.respond = false;
          if (hasBroken) throw new Error("broken");
          ctx.res.statusCode = 200;
          makeOld(ctx.res);
          ctx.res.write("pa");
          ctx.res.end("ge");
        },
      ],
      [
        "sent by the handler",
        (ctx) => {
          ctx.respond = false;
          makeOld(ctx.res);
          ctx.res.statusCode = hasBroken ? 503 : 200;
          ctx.res.end(hasBroken ? "broken" : "page");
        },
      ],
    ];
    const ask = await ground.serve({ behind: handlers }, { etag: false });
    for (const [name] of handlers) await ask(`/${encodeURIComponent(name)}`);
    hasBroken = true;
    // Over HTTP/2, Koa does not answer HEAD where its middleware throws.
    const methods = ground.name.includes("HTTP/2") ? (["GET"] as const) : ground.methods;
    for (const [name] of handlers)
      for (const method of methods) {
        const { status, bytes: body } = await ask(`/${encodeURIComponent(name)}`, { method });
        expect([status, body.toString()], `${method} ${name}`).to.deep.equal([200, method === "GET" ? "page" : ""]);
      }
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

for (const ground of koaGrounds.filter(({ name }) => name.includes("HTTP/2"))) {
  it(`every view of a buffer is stored as it is sent on ${ground.name}`, async () => {
    const view = new DataView(new Uint8Array([65, 66]).buffer);
    const ways: readonly (readonly [string, Way])[] = [
      ["whole", (res) => res.end(new Uint16Array([65, 66]))],
      ["in parts", (res) => (res.write(view), res.end("c"))],
      ["at the end", (res) => (res.write("x"), res.end(new Uint32Array([67])))],
    ];
    const handlers = ways.map(([name, way]) => {
      const handle = byKoa((res) => {
        res.statusCode = 200;
        return way(res);
      });
      return [name, handle] as const;
    });
    const { plain, cached } = await serveBoth(ground, handlers);
    for (const [name] of handlers) await expectSame(plain, cached, name, true);
  });
}
