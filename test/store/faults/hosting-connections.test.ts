import { expect } from "chai";
import { Redis } from "ioredis";
import { findFreePort, makeCertificates, signToken, startRedis, testAuth } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import type { Logger, PortcullisOptions } from "@portcullis/core";
import type { FakeGate } from "../../support/fake-gate.js";
import { openGate } from "../../support/fake-gate.js";
import { cleanUp } from "../../support/clean-up.js";
import { until } from "../../support/until.js";
import { startShard } from "../support/shard.js";

/** Milliseconds that no healthy Redis takes on a busy machine. */
const deadline = 2000;

interface Opened {
  readonly gate: FakeGate;
  readonly said: readonly string[];
}

/** What the tests that run at the same time have opened: none of them may close it for another. */
const opened: (() => unknown)[] = [];

function open(redis: PortcullisOptions<undefined>["redis"], more: PortcullisOptions<undefined> = {}): Opened {
  const said: string[] = [];
  const logger: Logger = {
    debug: () => undefined,
    warn: (fields, message) => void said.push(`${message} ${JSON.stringify(fields)}`),
  };
  const gate = openGate({ redis, auth: testAuth, keySecret: "s", deadline, logger, ...more });
  opened.push(() => gate.close());
  return { gate, said };
}

async function works(gate: FakeGate): Promise<void> {
  const token = await signToken();
  await until(async () => (await gate.verify(token)).allowed);
  const verdict = await gate.verify(token);
  if (verdict.allowed) await gate.revocations.revoke(verdict.auth);
  expect((await gate.verify(token)).allowed).to.equal(false);
}

async function start(options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  opened.push(() => server.stop());
  return server;
}

const operatorPassword = "password-of-the-operator";

describe("a connection to a Redis as it is sold", function () {
  this.timeout(60_000);
  const certificates = makeCertificates({ hostOnly: true });
  const announcements = {
    named: { "cluster-announce-hostname": "localhost", "cluster-preferred-endpoint-type": "hostname" },
    numbered: { "cluster-announce-ip": "127.0.0.1" },
    translated: { "cluster-announce-ip": "10.255.255.1" },
  };
  /** With a password. */
  let secured: RedisServer;
  let shards: Record<keyof typeof announcements | "rotating", RedisServer>;

  /** Tests that wait for the most part: they run together, while the shards start. */
  const meanwhile = new Map<string, () => Promise<void>>();
  const running = new Map<string, Promise<void>>();
  function itMeanwhile(title: string, show: () => Promise<void>): void {
    meanwhile.set(title, show);
    it(title, () => running.get(title));
  }

  async function startShards(): Promise<typeof shards> {
    const tls = certificates;
    const [named, numbered, translated, rotating] = await Promise.all([
      startShard({ tls, config: announcements.named }),
      startShard({ tls, config: announcements.numbered }),
      startShard({ config: announcements.translated }),
      startShard(),
    ]);
    return { named, numbered, translated, rotating };
  }

  before(async () => {
    secured = await start({ config: { requirepass: operatorPassword } });
    for (const [title, show] of meanwhile) running.set(title, show());
    const settled = Promise.allSettled(running.values());
    shards = await startShards();
    await settled;
  });
  after(async () => {
    const closing = opened.splice(0).map((close) => close());
    await Promise.all([...closing, ...Object.values(shards).map((shard) => shard.stop())]);
  });

  describe("in a Cluster with TLS whose certificates name hosts only (ElastiCache, MemoryDB)", () => {
    const tls = { ca: certificates.ca, ...certificates.client };

    it("is made where nodes are announced by name or by IP, and not if the certificate is for another host", async () => {
      const { named, numbered } = shards;
      // It never connects, and each call waits for its deadline.
      const wrong = open({ url: `rediss+cluster://127.0.0.1:${numbered.tlsPort}`, tls }, { deadline: 100 });
      await Promise.all(
        [named, numbered].map(async ({ tlsPort }) => {
          const { gate, said } = open({ url: `rediss+cluster://localhost:${tlsPort}`, tls });
          await works(gate);
          // On a busy machine a connection may fail for want of time.
          expect(said.filter((line) => line.includes("CERT"))).to.deep.equal([]);
        }),
      );
      await until(() => wrong.said.length > 0);
      expect(wrong.said[0]).to.include(`ERR_TLS_CERT_ALTNAME_INVALID at 127.0.0.1:${numbered.tlsPort}`);
      expect(wrong.said[0]).to.include("(the certificate names DNS:localhost)");
      expect((await wrong.gate.verify(await signToken())).allowed).to.equal(false);
    });
  });

  describe("behind a translation of addresses", () => {
    it("is made with natMap (Docker)", async () => {
      const { port } = shards.translated;
      const natMap = { [`10.255.255.1:${port}`]: { host: "127.0.0.1", port } };
      await works(open({ cluster: [{ host: "127.0.0.1", port }], natMap }).gate);
    });
  });

  describe("with a password that changes", () => {
    interface Rotating {
      readonly server: RedisServer;
      readonly username: string;
      readonly operator: Redis;
      readonly rotate: () => Promise<string>;
      readonly clients: () => Promise<string[]>;
      readonly connections: () => Promise<string[]>;
    }

    let users = 0;
    /** A user of its own of a server with a password. */
    async function startRotating(server = secured): Promise<Rotating> {
      const username = `iam-${(users += 1)}`;
      const operator = new Redis(server.url, { password: operatorPassword });
      opened.push(() => operator.disconnect());
      await operator.config("SET", "requirepass", operatorPassword);
      let count = 0;
      async function rotate(): Promise<string> {
        count += 1;
        const password = `rotated-password-${count}`;
        await operator.call("ACL", "SETUSER", username, "on", "resetpass", `>${password}`, "~*", "&*", "+@all");
        return password;
      }
      async function clients(): Promise<string[]> {
        const lines = String(await operator.call("CLIENT", "LIST")).split("\n");
        return lines.filter((line) => line.includes(`user=${username} `));
      }
      async function connections(): Promise<string[]> {
        return (await clients()).map((line) => /name=(\S*)/.exec(line)?.[1] ?? "");
      }
      return { server, username, operator, rotate, clients, connections };
    }

    const tracked = { revocation: { check: "tracked" }, cache: { tracked: ["t"] } } as const;

    for (const mode of ["one server", "a Cluster"] as const) {
      it(`makes every connection with the present one, the listening one too: ${mode}`, async () => {
        const isCluster = mode === "a Cluster";
        const { server, username, operator, rotate, connections } = await startRotating(
          isCluster ? shards.rotating : secured,
        );
        let present = await rotate();
        const url = isCluster ? server.url.replace("redis:", "redis+cluster:") : server.url;
        const password = async (): Promise<string> => Promise.resolve(present);
        const { gate, said } = open({ url, username, password }, tracked);
        const areAll = async (): Promise<boolean> => {
          const names = await connections();
          return names.includes("portcullis") && names.includes("portcullis-tracking");
        };
        await works(gate);
        await until(areAll);
        for (let round = 0; round < 2; round += 1) {
          present = await rotate();
          await operator.call("CLIENT", "KILL", "USER", username);
          await until(async () => !(await areAll()));
          await until(areAll);
          await works(gate);
        }
        expect(gate.health().store.status).to.equal("up");
        expect(said.join("\n")).to.not.include("rotated-password");
      });
    }

    itMeanwhile("gives the next one to live connections at 80 % of its time", async () => {
      const { server, username, operator, rotate, clients, connections } = await startRotating();
      const given: string[] = [];
      const password = async () => {
        given.push(await rotate());
        return { password: given.at(-1) ?? "", expiresAt: new Date(Date.now() + 1500) };
      };
      const { gate } = open({ url: server.url, username, password }, tracked);
      await works(gate);
      await until(async () => (await connections()).includes("portcullis-tracking"));
      await operator.call("CONFIG", "RESETSTAT");
      const ids = async (): Promise<string[]> =>
        (await clients()).filter((line) => line.includes(" name=portcullis ")).map((line) => line.split(" ")[0] ?? "");
      const before = await ids();
      await until(() => given.length >= 3);
      await until(async () => /cmdstat_auth:calls=[1-9]/.test(await operator.info("commandstats")));
      expect(await ids(), "the same connection").to.deep.equal(before);
      await works(gate);
    });

    itMeanwhile("is one cause in the log where the function fails, and works as soon as it does not", async () => {
      const { server, username, rotate } = await startRotating();
      const present = await rotate();
      let fails = true;
      const password = (): string => {
        if (fails) throw new Error(`no token for ${present}`);
        return present;
      };
      const { gate, said } = open({ url: server.url, username, password });
      await until(() => said.length > 0);
      fails = false;
      await works(gate);
      await until(() => said.join("\n").includes("answers again"));
      expect(said.filter((line) => line.includes("redis.password has failed"))).to.have.length(1);
      expect(said.join("\n")).to.not.include("rotated-password");
    });

    it("is followed on a client of the application whose options the application changes", async () => {
      const { server, username, operator, rotate, connections } = await startRotating();
      const client = new Redis({
        ...{ port: server.port, username, password: await rotate() },
        ...{ enableOfflineQueue: false, maxRetriesPerRequest: 0, socketTimeout: 1000 },
      });
      client.on("error", () => undefined);
      cleanUp(() => client.disconnect());
      const { gate } = open(client, tracked);
      await works(gate);
      await until(async () => (await connections()).includes("portcullis-tracking"));
      client.options.password = await rotate();
      await operator.call("CLIENT", "KILL", "USER", username);
      await until(async () => (await connections()).includes("portcullis-tracking"));
    });

    itMeanwhile(
      "is a warning, a metric and a finding where the listening connection alone cannot be made",
      async () => {
        const { server, username, operator, rotate, clients } = await startRotating();
        const password = await rotate();
        const { gate, said } = open({ url: server.url, username, password }, tracked);
        await works(gate);
        await until(async () => (await gate.examine()).every(({ code }) => code !== "listener_down"));
        const listening = (): unknown =>
          gate.metrics().find(({ name }) => name === "portcullis_listening")?.samples[0]?.value;
        await until(() => listening() === 1);
        await rotate();
        for (const line of await clients())
          if (line.includes("name=portcullis-tracking"))
            await operator.call("CLIENT", "KILL", "ID", /id=(\d+)/.exec(line)?.[1] ?? "");
        await until(() => said.join("\n").includes("listening connection to Redis cannot be made: WRONGPASS"));
        expect(listening()).to.equal(0);
        const finding = (await gate.examine()).find(({ code }) => code === "listener_down");
        expect(finding).to.deep.include({ severity: "warning" });
        expect(said.filter((line) => line.includes("listening connection"))).to.have.length(1);
      },
    );
  });

  it("under Sentinel is made with a password of the sentinels, and one of the servers", async () => {
    const sentinel = await start({
      sentinel: true,
      config: {
        "sentinel monitor main": `127.0.0.1 ${secured.port} 1`,
        "sentinel auth-pass main": operatorPassword,
        requirepass: "password-of-the-sentinel",
      },
    });
    const url = `redis+sentinel://:${operatorPassword}@127.0.0.1:${sentinel.port}/main`;
    await works(open({ url, sentinelPassword: "password-of-the-sentinel" }).gate);
    const { said } = open({ url, sentinelPassword: "wrong-password" });
    const unnamed = open({ url: url.replace("/main", "/other"), sentinelPassword: "password-of-the-sentinel" });
    await until(() => said.length > 0 && unnamed.said.length > 0);
    expect(said[0]).to.match(/connection to Redis failed: (?:WRONGPASS|NOAUTH) at 127\.0\.0\.1/);
    expect(unnamed.said[0]).to.match(/connection to Redis failed: .*sentinel/);
    expect(said.join("\n") + unnamed.said.join("\n")).to.not.match(/password-of|wrong-password/);
  });

  itMeanwhile("says once why it cannot be made: host, port, and Node's code or the first word of Redis", async () => {
    const encrypted = await start({ tls: makeCertificates() });
    const [plainPort, free] = [secured.port, await findFreePort()];
    const cases: readonly (readonly [url: string, line: RegExp, finding: RegExp])[] = [
      [`redis://:wrong-password@127.0.0.1:${plainPort}`, /WRONGPASS at 127\.0\.0\.1:\d+/, /WRONGPASS, the user or the/],
      [secured.url, /NOAUTH at 127\.0\.0\.1:\d+/, /NOAUTH, Redis asks for a password/],
      ["redis://nowhere.invalid:6379", /(?:ENOTFOUND|EAI_AGAIN) at nowhere\.invalid:6379/, /ENOTFOUND|EAI_AGAIN/],
      ["redis+cluster://nowhere.invalid:6379", /(?:ENOTFOUND|EAI_AGAIN) at nowhere/, /ENOTFOUND|EAI_AGAIN/],
      [`redis://127.0.0.1:${free}`, new RegExp(`ECONNREFUSED at 127\\.0\\.0\\.1:${free}`), /ECONNREFUSED, nothing/],
      [`redis+sentinel://127.0.0.1:${free}/main`, /ECONNREFUSED at 127\.0\.0\.1/, /ECONNREFUSED/],
      [`rediss://127.0.0.1:${encrypted.tlsPort}`, /SELF_SIGNED_CERT_IN_CHAIN at/, /SELF_SIGNED_CERT_IN_CHAIN/],
      [`redis://127.0.0.1:${encrypted.tlsPort}`, /failed: .+ at 127\.0\.0\.1/, /Redis does not answer: (?!timeout)/],
    ];
    await Promise.all(
      cases.map(async ([url, line, finding]) => {
        const { gate, said } = open(url);
        await until(() => said.length > 0);
        expect(said[0], url).to.match(line);
        const found = (await gate.examine()).find(({ code }) => code === "store_unreachable");
        expect(found?.message, url)
          .to.match(finding)
          .and.not.match(/127\.0\.0\.1|password@/);
        await new Promise((resolve) => setTimeout(resolve, 1000));
        expect(
          said.filter((text) => text === said[0]),
          url,
        ).to.have.length(1);
        expect(said, url).to.have.length.at.most(2);
        expect(said.join("\n")).to.not.match(/password-of|wrong-password/);
      }),
    );
  });

  itMeanwhile("says once that Redis is back", async () => {
    const server = await start();
    const { gate, said } = open(server.url);
    await works(gate);
    await server.kill();
    await until(() => said.join("\n").includes("connection to Redis failed: ECONNREFUSED"));
    await server.restart();
    await until(() => said.join("\n").includes("Redis answers again"));
    await works(gate);
    expect(said.filter((line) => line.includes("answers again"))).to.have.length(1);
  });

  it("may be shared by more gates than Node allows listeners for", async () => {
    const server = await start();
    const client = new Redis(server.url, { enableOfflineQueue: false, maxRetriesPerRequest: 0 });
    cleanUp(() => client.disconnect());
    const warnings: Error[] = [];
    const note = (warning: Error): void => void warnings.push(warning);
    process.on("warning", note);
    cleanUp(() => process.off("warning", note));
    const before = ["ready", "error", "end", "close"].map((event) => client.listenerCount(event));
    const gates = Array.from({ length: 15 }, () => open(client, { revocation: { check: "tracked" } }).gate);
    await Promise.all(gates.map(works));
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings.filter(({ name }) => name === "MaxListenersExceededWarning")).to.deep.equal([]);
    await Promise.all(gates.map((gate) => gate.close()));
    const after = ["ready", "error", "end", "close"].map((event) => client.listenerCount(event));
    expect(after, "listeners that stayed").to.deep.equal(before);
  });
});
