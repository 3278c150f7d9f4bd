import { makeCertificates, startRedis } from "@portcullis/testkit";
import { cleanUp } from "../../support/clean-up.js";
import { openGate } from "../../support/fake-gate.js";
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
});
