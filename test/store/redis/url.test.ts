import { expect } from "chai";
import { resolveRedis } from "../../../packages/core/src/store/redis/options.js";
import { parseRedisUrl } from "../../../packages/core/src/store/redis/url.js";
import type { RedisPlace } from "../../../packages/core/src/store/redis/topology.js";

const one = (host: string, port: number) => [{ host, port }];

const urls: readonly [url: string, place: Partial<RedisPlace>][] = [
  ["redis://127.0.0.1", { topology: "standalone", addresses: one("127.0.0.1", 6379), db: 0, tls: undefined }],
  ["redis://cache.internal:6380/3", { addresses: one("cache.internal", 6380), db: 3 }],
  ["redis://[::1]:7000/", { addresses: one("::1", 7000) }],
  ["redis://:p%40ss%3Aword@a", { username: undefined, password: "p@ss:word" }],
  ["rediss://gate:secret@a:6380", { username: "gate", password: "secret", tls: {} }],
  [
    "redis+sentinel://:p@a,b:26380/main/2",
    {
      topology: "sentinel",
      addresses: [...one("a", 26_379), ...one("b", 26_380)],
      masterName: "main",
      password: "p",
      db: 2,
    },
  ],
  [
    "rediss+cluster://a:7000,b:7001",
    { topology: "cluster", addresses: [...one("a", 7000), ...one("b", 7001)], tls: {} },
  ],
  [
    "redis+unix:///run/redis%20x.sock?db=4",
    { topology: "standalone", path: "/run/redis x.sock", addresses: [], db: 4 },
  ],
];

describe("the URL of a Redis", () => {
  for (const [url, place] of urls) {
    it(`is read: ${url}`, () => {
      expect(parseRedisUrl("redis", url)).to.include.all.keys(Object.keys(place));
      for (const [member, value] of Object.entries(place))
        expect(parseRedisUrl("redis", url)[member as keyof RedisPlace], member).to.deep.equal(value);
    });
  }
});

describe("a Redis by its parts", () => {
  it("is the same as by its URL", () => {
    const pairs = [
      [{ host: "a" }, "redis://a"],
      [{ host: "a", port: 1, username: "u", password: "p", db: 2, tls: true }, "rediss://u:p@a:1/2"],
      [{ path: "/s" }, "redis+unix:///s"],
      [{ sentinels: [{ host: "a" }, { host: "b", port: 2 }], name: "main" }, "redis+sentinel://a,b:2/main"],
      [{ cluster: [{ host: "a", port: 1 }, { host: "b" }] }, "redis+cluster://a:1,b"],
    ] as const;
    for (const [parts, url] of pairs) expect(resolveRedis(parts)).to.deep.equal(resolveRedis(url));
  });

  it("adds options that a URL cannot contain", () => {
    const place = resolveRedis({
      url: "rediss+sentinel://:p@a/main",
      sentinelPassword: "q",
      tls: { ca: "x" },
    })?.security;
    expect(place).to.deep.include({ topology: "sentinel", password: "p", sentinelPassword: "q", tls: { ca: "x" } });
  });

  it("may be two, for records and for the cache", () => {
    const { security, cache } = resolveRedis({ security: "redis://a", cache: { host: "b" } }) ?? {};
    expect(security).to.deep.include({ addresses: one("a", 6379) });
    expect(cache).to.deep.include({ addresses: one("b", 6379) });
  });
});
