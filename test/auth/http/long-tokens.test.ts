import { signToken, testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { form, send } from "../../support/http.js";
import { openGate } from "../../support/fake-gate.js";

/** A token of about so many characters. */
const tokenOf = (length: number): Promise<string> => signToken({ groups: "g".repeat((length * 3) / 4 - 300) });

describeOnEveryFramework("auth.maxTokenLength", (start) => {
  it("lets longer tokens pass, from every source and to every route", async () => {
    const auth = { ...testAuth, maxTokenLength: 15_000, tokenFrom: ["header", { cookie: "t" }] as const };
    const app = await start({ auth }, { use: (gate) => [gate.routes.revoke(), gate.guard()] });
    const [token, tooLong] = await Promise.all([tokenOf(13_000), tokenOf(15_300)]);
    expect(token.length).to.be.within(9000, 15_000);
    expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
    expect((await send(`${app.url}/me`, { headers: { cookie: `t=${token}` } })).status).to.equal(200);
    expect((await app.gate.verify(token)).allowed).to.equal(true);
    const refused = await send(`${app.url}/me`, { token: tooLong });
    expect(refused.status).to.equal(401);
    expect(refused.json).to.include({ code: "token_too_large" });
    expect(await app.gate.verify(tooLong)).to.have.nested.property("problem.code", "token_too_large");
    expect((await form(`${app.url}/revoke`, { token })).status).to.equal(200);
    expect((await send(`${app.url}/me`, { token })).status).to.equal(401);
  });

  it("is 8192 without the option", async () => {
    const { url } = await start({ auth: testAuth });
    const refused = await send(`${url}/me`, { token: await tokenOf(9000) });
    expect(refused.json).to.include({ code: "token_too_large" });
  });
});

describe("auth.maxTokenLength", () => {
  for (const maxTokenLength of [1023, 65_537, 8192.5, "8192", null, Number.NaN])
    it(`is refused as ${String(maxTokenLength)}`, () => {
      const auth = { ...testAuth, maxTokenLength: maxTokenLength as number };
      expect(() => openGate({ auth })).to.throw(/auth\.maxTokenLength must be a whole number/);
    });
});
