import { makeCertificates, startRedis } from "@portcullis/testkit";
import type { RedisServer } from "@portcullis/testkit";
import { expect } from "chai";
import type { AnyOptions } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { ask, expectOutage, recovers, startAll } from "../support/outage-apps.js";

async function launch(options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> {
  const server = await startRedis(options);
  cleanUp(() => server.stop());
  return server;
}

describe("a gate that begins while it cannot use its Redis", function () {
  this.timeout(30_000);

  it("answers 503 in time while the process of Redis is stopped, and works when it goes on", async () => {
    const server = await launch();
    server.pause();
    const apps = await startAll(server.url);
    await Promise.all(apps.map(expectOutage));
    server.resume();
    await Promise.all(apps.map(recovers));
  });

  it("waits for a Redis that goes on within connectDeadline", async () => {
    const server = await launch();
    server.pause();
    const apps = await startAll(server.url);
    const asked = apps.map(async (app) => Promise.all([ask(app), ask(app, "/issue")]));
    setTimeout(() => server.resume(), 300);
    for (const { status } of (await Promise.all(asked)).flat()) expect(status).to.equal(200);
  });

  it("answers 503 in time where Redis refuses its password, or TLS, or is not to be trusted, or is nowhere", async () => {
    const certificates = makeCertificates();
    const [locked, open, secure] = [
      await launch({ config: { requirepass: "right" } }),
      await launch(),
      await launch({ tls: certificates }),
    ];
    const places: readonly AnyOptions["redis"][] = [
      locked.url,
      locked.url.replace("//", "//:wrong@"),
      open.url.replace("redis:", "rediss:"),
      `redis://127.0.0.1:${secure.tlsPort}`,
      { host: "localhost", port: secure.tlsPort ?? 0, tls: {} },
      "redis://127.0.0.1:9",
    ];
    await Promise.all(places.map(async (place) => Promise.all((await startAll(place)).map(expectOutage))));
  });
});
