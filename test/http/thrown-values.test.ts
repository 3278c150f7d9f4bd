import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { describeOnEveryFramework, withNodeAdapter } from "../support/every-gate.js";

/** Values for which Express goes on with the next handler, or Koa does not answer, and others that are no errors. */
const thrown: readonly unknown[] = [undefined, null, false, 0, "", "route", "router", "no", Symbol("no")];

withNodeAdapter(describeOnEveryFramework)("a function of the application", (start) => {
  it("opens no door, whatever value it throws or rejects with", async () => {
    for (const value of thrown) {
      const refuse = async (): Promise<never> => {
        await Promise.resolve();
        throw value;
      };
      const { url } = await start({ auth: { ...testAuth, validate: refuse } });
      const response = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${await signToken()}` } });
      await response.text();
      expect(response.status, String(value)).to.equal(500);
    }
  });

  it("lets no request without a limit through that it should have told, whatever it throws", async () => {
    for (const value of thrown) {
      const per = (): never => {
        throw value;
      };
      const { url } = await start({ limits: [{ name: "tenant", per, limit: 5, window: "1m" }] });
      const response = await fetch(`${url}/me`, { headers: { authorization: `Bearer ${await signToken()}` } });
      await response.text();
      expect(response.status, String(value)).to.equal(500);
    }
  });
});
