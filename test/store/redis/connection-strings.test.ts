import { expect } from "chai";
import { resolveRedis } from "../../../packages/core/src/store/redis/options.js";
import { findUnsafeOptions } from "../../../packages/core/src/store/redis/topology.js";
import type { RedisPlace } from "../../../packages/core/src/store/redis/topology.js";
import type { RedisLike } from "../../../packages/core/src/store/redis/client.js";

function placeOf(redis: unknown): RedisPlace {
  return resolveRedis(redis)?.security as RedisPlace;
}

function errorOf(redis: unknown): string {
  try {
    resolveRedis(redis);
  } catch (error) {
    return error instanceof TypeError ? error.message : String(error);
  }
  throw new Error("there is no error");
}

const one = (host: string, port: number) => [{ host, port }];
const tls = {};
const family = 6;

/** Addresses in the forms in which hosting plans and orchestrators show them; hosts, users and passwords are invented. */
const understood: readonly (readonly [plan: string, text: string, place: Partial<RedisPlace>])[] = [
  ["ElastiCache, one node", "rediss://master.orders.ab12cd.euc1.cache.amazonaws.com:6379", { tls, db: 0 }],
  [
    "ElastiCache, serverless",
    "rediss+cluster://orders-ab12cd.serverless.euc1.cache.amazonaws.com:6379",
    { topology: "cluster", tls },
  ],
  [
    "MemoryDB, with an ACL user",
    "rediss+cluster://app:Aa-1!b@clustercfg.orders.ab12cd.memorydb.eu-west-1.amazonaws.com:6379",
    { topology: "cluster", username: "app", password: "Aa-1!b" },
  ],
  [
    "Azure Cache, access key in base64",
    "rediss://:q0Gv+Zr/7hA=@orders.redis.cache.windows.net:6380",
    { username: undefined, password: "q0Gv+Zr/7hA=", addresses: one("orders.redis.cache.windows.net", 6380) },
  ],
  [
    "Azure Managed Redis",
    "rediss://default:k=@orders.westeurope.redis.azure.net:10000",
    { username: "default", password: "k=", addresses: one("orders.westeurope.redis.azure.net", 10_000) },
  ],
  ["Memorystore, one server", "redis://10.21.3.4:6379", { addresses: one("10.21.3.4", 6379), tls: undefined }],
  ["Memorystore, AUTH and TLS", "rediss://:1b2c-3d@10.21.3.5:6378", { password: "1b2c-3d", tls }],
  ["Memorystore Cluster", "redis+cluster://10.21.4.2:6379", { topology: "cluster" }],
  ["Upstash", "rediss://default:AXXX@eu1-brave-cat-31415.upstash.io:6379", { username: "default", tls }],
  [
    "Heroku",
    "rediss://:p0a1b2@ec2-52-1-2-3.compute-1.amazonaws.com:24750",
    { password: "p0a1b2", addresses: one("ec2-52-1-2-3.compute-1.amazonaws.com", 24_750) },
  ],
  [
    "Railway, private network",
    "redis://default:gHk@redis.railway.internal:6379?family=0",
    { family: 0, password: "gHk" },
  ],
  [
    "Railway, public proxy",
    "redis://default:gHk@monorail.proxy.rlwy.net:21034",
    { addresses: one("monorail.proxy.rlwy.net", 21_034) },
  ],
  ["Fly.io, IPv6 alone", "redis://default:z@fly-orders.upstash.io:6379?family=6", { family }],
  ["Fly.io, internal", "redis://[fdaa:0:1::3]:6379/0?family=6", { addresses: one("fdaa:0:1::3", 6379), family, db: 0 }],
  [
    "Redis Cloud",
    "redis://default:N7@redis-14321.c55.eu-central-1-1.ec2.cloud.redislabs.com:14321",
    { addresses: one("redis-14321.c55.eu-central-1-1.ec2.cloud.redislabs.com", 14_321) },
  ],
  ["Aiven", "rediss://default:AVNS_x-y@valkey-1a2b-orders.a.aivencloud.com:12691", { password: "AVNS_x-y", tls }],
  [
    "Aiven for Valkey",
    "valkeys://default:AVNS_x-y@valkey-1a2b-orders.a.aivencloud.com:12691",
    { username: "default", tls },
  ],
  [
    "DigitalOcean",
    "rediss://default:AVNS_9@db-redis-fra1-12345-do-user-1-0.b.db.ondigitalocean.com:25061",
    { addresses: one("db-redis-fra1-12345-do-user-1-0.b.db.ondigitalocean.com", 25_061) },
  ],
  ["Render, internal", "redis://red-abc123def:6379", { addresses: one("red-abc123def", 6379) }],
  ["Scalingo", "redis://:Wx_2@orders-1234.redis.a.osc-fr1.scalingo-dbs.com:31234", { password: "Wx_2" }],
  ["OVHcloud", "rediss://admin:s3@valkey-12-34.database.cloud.ovh.net:20185", { username: "admin" }],
  ["Vercel KV, old", "rediss://default:abc@witty-fox-40123.kv.vercel-storage.com:40123", { tls }],
  ["Docker Compose", "redis://cache:6379/1", { addresses: one("cache", 6379), db: 1 }],
  [
    "Kubernetes, a service",
    "redis://redis-master.data.svc.cluster.local:6379",
    { addresses: one("redis-master.data.svc.cluster.local", 6379) },
  ],
  [
    "Kubernetes, Sentinel of Bitnami",
    "redis+sentinel://:s3cret@redis.data.svc:26379/mymaster/0",
    { topology: "sentinel", masterName: "mymaster", password: "s3cret" },
  ],
  [
    "Kubernetes, a secret that ends with a line feed",
    "redis://:s3cret@redis:6379\n",
    { password: "s3cret", addresses: one("redis", 6379) },
  ],
  ["a Valkey of one's own", "valkey://10.0.0.5:6379/2", { db: 2, tls: undefined }],
  ["Valkey in a Cluster", "valkey+cluster://a:7000,b:7001", { topology: "cluster" }],
  ["a socket", "redis+unix:///var/run/redis/redis.sock?db=3", { path: "/var/run/redis/redis.sock", db: 3 }],
  [
    "a password with @, / and ?",
    "redis://:p@ss/w?rd#1@redis:6379/0",
    { password: "p@ss/w?rd#1", addresses: one("redis", 6379), db: 0 },
  ],
  ["the same, encoded", "redis://:p%40ss%2Fw%3Frd%231@redis:6379/0", { password: "p@ss/w?rd#1" }],
  ["the number of a database as parameter", "redis://redis:6379?db=4", { db: 4 }],
  ["Dragonfly", "redis://dragonfly:6379", { addresses: one("dragonfly", 6379) }],
  ["Envoy beside the service", "redis://127.0.0.1:1999", { addresses: one("127.0.0.1", 1999) }],
];

/** Texts that are no URL of a Redis, with what the error says to write instead. */
const refused: readonly (readonly [what: string, text: string, advice: RegExp])[] = [
  ["the REST address of Upstash", "https://eu1-brave-cat-31415.upstash.io", /REST API; write .*"rediss:\/\//],
  [
    "the connection string of Azure for .NET",
    "orders.redis.cache.windows.net:6380,password=hidden,ssl=True,abortConnect=False",
    /\.NET; write "rediss:\/\//,
  ],
  ["the command of a console", "redis-cli --tls -u redis://default:hidden@a.upstash.io:6379", /is a command/],
  ["host and port alone (Google's console)", "10.21.3.4:6379", /no scheme; write "redis:\/\/host:6379"/],
  ["a host alone", "redis.example.com", /no scheme/],
  ["a value in quotation marks (.env in Docker)", '"redis://:hidden@redis:6379"', /quotation mark/],
  ["Lettuce's scheme for Sentinel", "redis-sentinel://:hidden@a:26379#main", /"redis\+sentinel:\/\//],
  ["a scheme of a cluster", "redis-cluster://a:7000", /"redis\+cluster:\/\//],
  ["a path", "/var/run/redis.sock", /"redis\+unix:\/\/\/path"/],
  ["a scheme of a socket", "unix:///var/run/redis.sock", /"redis\+unix:\/\/\/path"/],
  ["Docker's links", "tcp://172.17.0.2:6379", /"redis:\/\/host:6379"/],
  ["a scheme for TLS", "tls://redis:6380", /"rediss:\/\//],
  ["a scheme in capitals", "REDIS://redis:6379", /lower case/],
  ["a password alone", "redis://hidden@redis:6379", /"user:password@", or ":password@"/],
  [
    "Heroku's advice for Python",
    "rediss://:hidden@ec2-1.compute-1.amazonaws.com:24750?ssl_cert_reqs=none",
    /cannot switch off the check/,
  ],
  ["a parameter for TLS", "redis://:hidden@redis:6379?ssl=true", /begin with rediss:\/\//],
  [
    "a parameter that nobody knows",
    "redis://:hidden@redis:6379?hiddenParameter=1",
    /not known; there are \?db= and \?family=/,
  ],
  ["a wrong family", "redis://redis:6379?family=ipv6", /0, 4 or 6/],
  ["the name of a database", "redis://redis:6379/orders", /number of the database/],
  ["several hosts", "redis://a:6379,b:6379", /redis\+cluster:\/\/ or redis\+sentinel/],
  ["no host", "redis://:6379", /must have (?:a host|hosts)/],
  ["a port that is none", "redis://redis:99999", /port from 1 to 65535/],
  ["an unfinished escape", "redis://:hid%den@redis:6379", /%25/],
  ["Sentinel without a master", "redis+sentinel://a:26379", /name the master/],
  ["an empty variable", "", /must be a URL such as/],
  ["a variable that was not replaced", "${REDIS_URL}", /must be a URL such as/],
];

describe("the address of a hosting plan", () => {
  for (const [plan, text, place] of understood) {
    it(`is understood: ${plan}`, () => {
      for (const [member, value] of Object.entries(place))
        expect(placeOf(text)[member as keyof RedisPlace], member).to.deep.equal(value);
    });
  }

  for (const [what, text, advice] of refused) {
    it(`is refused with what to write instead, and without a secret: ${what}`, () => {
      expect(errorOf(text))
        .to.match(advice)
        .and.not.match(/hidden|hid%den/);
    });
  }
});

describe("a client of another library", () => {
  class Emitter {
    readonly on = (): void => undefined;
  }
  const nodeRedis = Object.assign(new Emitter(), { isOpen: false, sendCommand: () => undefined, get: () => undefined });
  const nodeRedis3 = Object.assign(new Emitter(), { send_command: () => undefined, connected: true });
  const mock = Object.assign(new Emitter(), {
    data: new Map(),
    connected: true,
    get: () => "",
    disconnect: () => undefined,
  });
  const upstash = { get: () => undefined, set: () => undefined, pipeline: () => undefined, client: {} };

  it("is refused with what it is, and what to pass instead", () => {
    for (const [client, advice] of [
      [nodeRedis, /client of node-redis.*pass the URL, or a client of ioredis/],
      [nodeRedis3, /client of node-redis/],
      [mock, /ioredis-mock.*pass "memory"/],
      [upstash, /REST API \(Upstash\).*rediss:\/\//],
    ] as const)
      expect(errorOf(client)).to.match(advice);
    expect(errorOf({ security: nodeRedis, cache: "redis://a" })).to.match(/redis\.security is a client of node-redis/);
  });
});

describe("the parts of an address", () => {
  it("are checked, with what to write instead", () => {
    for (const [redis, advice] of [
      [{ host: "a", family: 5 }, /redis\.family must be 0, 4 or 6/],
      [{ host: "a", natMap: {} }, /redis\.natMap goes with a Cluster and with sentinels/],
      [{ cluster: [{ host: "a" }], natMap: [] }, /redis\.natMap must be an object/],
      [{ cluster: [{ host: "a" }], natMap: { "10.0.0.1": { host: "b" } } }, /names such as "10\.0\.0\.1:6379"/],
      [{ host: "a", password: 5 }, /redis\.password must be a non-empty string/],
      [{ host: "a", username: "u" }, /redis\.password is required with username/],
    ] as const)
      expect(errorOf(redis)).to.match(advice);
  });

  it("may have a function as password, an IP family and translated addresses", () => {
    const password = (): string => "p";
    const natMap = { "10.0.0.1:6379": { host: "127.0.0.1", port: 7000 } };
    const place = placeOf({ url: "redis+cluster://a", username: "u", password, family: 4, natMap });
    expect(place).to.deep.include({ username: "u", password, family: 4, natMap });
  });
});

describe("options of a client of the application that lose keys", () => {
  it("are found: stringNumbers with enableAutoPipelining in a Cluster", () => {
    const good = { enableOfflineQueue: false, retryDelayOnFailover: 0 };
    const node = { maxRetriesPerRequest: 0, socketTimeout: 1000 };
    const cluster = (more: object, nodes: object): RedisLike =>
      ({ isCluster: true, options: { ...good, ...more, redisOptions: { ...node, ...nodes } } }) as unknown as RedisLike;
    expect(findUnsafeOptions(cluster({}, { stringNumbers: true }))).to.deep.equal([]);
    expect(findUnsafeOptions(cluster({ enableAutoPipelining: true }, {}))).to.deep.equal([]);
    expect(findUnsafeOptions(cluster({ enableAutoPipelining: true }, { stringNumbers: true }))).to.deep.equal([
      "enableAutoPipelining: false in a Cluster with stringNumbers",
    ]);
  });
});
