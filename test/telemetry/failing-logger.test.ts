import { signToken, testAudience, testAuth, testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { allAdapters } from "../support/app.js";
import type { AnyOptions } from "../support/app.js";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";

const failures: Readonly<Record<string, () => unknown>> = {
  throws() {
    throw new Error("seeded-text of the failure");
  },
  rejects: () => Promise.reject(new Error("seeded-text of the failure")),
};

/** The warnings of Portcullis that the process emits, instead of printing them. */
function catchWarnings(): string[] {
  const warnings: string[] = [];
  const emit = Reflect.get<NodeJS.Process, "emitWarning">(process, "emitWarning");
  cleanUp(() => (process.emitWarning = emit));
  process.emitWarning = (warning: string | Error) => void warnings.push(String(warning));
  return warnings;
}

for (const [how, fail] of Object.entries(failures))
  for (const [index, adapter] of allAdapters.entries())
    describe(`a logger that ${how}, on ${adapter.name}`, () => {
      const optionsOf = (): AnyOptions => ({
        redis: index % 2 === 0 ? "memory" : testRedisUrl(),
        prefix: freshPrefix(),
        deadline: 1000,
        auth: testAuth,
        tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience },
        logger: { debug: fail, warn: fail },
        // Its failure is a warning for the logger.
        audit: () => {
          throw new Error("the listener");
        },
      });

      it("changes no answer and no call, and is told once, without its text", async () => {
        const warnings = catchWarnings();
        const { url, gate } = await adapter.start({ options: optionsOf(), routes: { "GET /me": () => ({}) } });
        expect((await send(`${url}/me`)).status).to.equal(401);
        expect((await send(`${url}/me`, { token: "nonsense" })).status).to.equal(401);
        expect((await send(`${url}/me`, { token: await signToken() })).status).to.equal(200);
        const { sessionId } = await gate.tokens.issue({ subject: "alice" });
        expect(await gate.sessions.revoke("alice", sessionId)).to.equal(true);
        await new Promise((resolve) => setImmediate(resolve));
        expect(warnings).to.deep.equal(["portcullis: the logger threw or rejected; lines may be missing"]);
      });
    });
