import { once } from "node:events";
import { makeCertificates, startRedis } from "@portcullis/testkit";
import { expect } from "chai";
import { Redis } from "ioredis";
import { cleanUp } from "../../support/clean-up.js";
import { openGate } from "../../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../../support/redis.js";
import { until } from "../../support/until.js";

const cases: readonly (readonly [scheme: string, advice: RegExp])[] = [
  ["rediss", /SELF_SIGNED_CERT\w*, the authority of its certificate is unknown: pass it as tls.ca/],
  ["redis", /ECONNRESET, .*needs rediss:\/\//],
];

describe("the finding that Redis does not answer", () => {
  for (const [scheme, advice] of cases)
    it(`says what to change where ${scheme}:// leads to a port with TLS of an unknown authority`, async function () {
      this.timeout(30_000);
      const tls = await startRedis({ tls: makeCertificates(), config: { "tls-auth-clients": "no" } });
      cleanUp(() => tls.stop());
      const gate = openGate({ redis: `${scheme}://127.0.0.1:${tls.tlsPort}` });
      await until(async () =>
        (await gate.examine()).some(({ code, message }) => code === "store_unreachable" && advice.test(message)),
      );
    });

  for (const when of ["before", "after"])
    it(`says that the application has ended its client, ${when} the gate was made`, async () => {
      const client = new Redis(testRedisUrl());
      await once(client, "ready");
      if (when === "before") await client.quit();
      const lines: string[] = [];
      const logger = { debug: () => undefined, warn: (_: object, line: string) => void lines.push(line) };
      const gate = openGate({ redis: client, prefix: freshPrefix(), logger });
      if (when === "after") {
        await until(() => gate.health().store.status === "up");
        await client.quit();
      }
      const ended = /quit\(\) or disconnect\(\) of the application has ended its client/;
      await until(async () =>
        (await gate.examine()).some(({ code, message }) => code === "store_unreachable" && ended.test(message)),
      );
      expect(lines.some((line) => ended.test(line))).to.equal(true);
    });
});
