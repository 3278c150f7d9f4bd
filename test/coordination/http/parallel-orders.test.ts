import { expect } from "chai";
import { isSoak } from "../../support/soak.js";
import { startShops } from "../support/shop.js";

const rounds = isSoak ? 20 : 2;

describe("100 parallel requests with one Idempotency-Key at 4 processes", function () {
  this.timeout(60_000);

  it("are one execution; the others get its response or 409, where conflicts are refused", async () => {
    const shops = await startShops(4, { onConflict: "refuse" }, { workMs: 150 });
    for (let round = 1; round <= rounds; round += 1) {
      const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => shops.order(n % 4, `key-${round}`)));
      const good = answers.filter(({ status }) => status === 200);
      const refused = answers.filter(({ status }) => status === 409);
      expect([good.length + refused.length, await shops.begun()]).to.deep.equal([100, round]);
      expect(good.length).to.be.at.least(1);
      for (const { json } of good) expect(json).to.deep.equal({ order: round });
      for (const { json, headers } of refused) {
        expect(json).to.include({ code: "idempotency_conflict" });
        expect(headers["retry-after"]).to.equal("1");
      }
      for (let shop = 0; shop < 4; shop += 1)
        expect((await shops.order(shop, `key-${round}`)).json).to.deep.equal({ order: round });
    }
  });

  it("are one execution and 100 equal answers, where they wait", async () => {
    const shops = await startShops(4, { onConflict: "wait", wait: "30s" }, { workMs: 150 });
    for (let round = 1; round <= rounds; round += 1) {
      const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => shops.order(n % 4, `key-${round}`)));
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`))).to.deep.equal(
        new Set([`200 {"order":${round}}`]),
      );
      expect(answers.filter(({ headers }) => headers["idempotency-replayed"] === undefined)).to.have.length(1);
      expect(await shops.begun()).to.equal(round);
    }
  });
});
