import { expect } from "chai";
import { PasswordSource } from "../../../packages/core/src/store/redis/password.js";
import type { ExpiringPassword } from "../../../packages/core/src/store/redis/password.js";
import { cleanUp } from "../../support/clean-up.js";
import { until } from "../../support/until.js";

interface Opened {
  readonly source: PasswordSource;
  readonly calls: () => number;
  readonly renewals: () => number;
}

function open(get: (call: number) => ExpiringPassword): Opened {
  let calls = 0;
  let renewals = 0;
  const source = new PasswordSource({
    get: () => get((calls += 1)),
    username: undefined,
    onFailure: () => undefined,
    onRefusal: () => undefined,
  });
  source.onRenewal(() => (renewals += 1));
  cleanUp(() => source.close());
  return { source, calls: () => calls, renewals: () => renewals };
}

const soon = (): Date => new Date(Date.now() + 1000);

describe("a source of passwords", function () {
  this.timeout(20_000);

  it("refuses an invalid Date, and does not ask again and again", async () => {
    const { source, calls } = open(() => ({ password: "p", expiresAt: new Date(Number.NaN) }));
    expect(await source.fresh().catch((error: unknown) => String(error))).to.match(/expiresAt as a Date/);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(calls()).to.equal(1);
  });

  it("gives a password that has expired, and asks for another one seldom", async () => {
    const { source, calls, renewals } = open(() => ({ password: "p", expiresAt: 1 }));
    expect(await source.fresh()).to.equal("p");
    const other = open((call) => ({ password: `p${call}`, expiresAt: soon() }));
    await other.source.fresh();
    await until(() => other.calls() > 2);
    expect([calls(), renewals()]).to.deep.equal([1, 0]);
  });

  it("makes listening connections anew for another password only", async () => {
    const same = open(() => ({ password: "p", expiresAt: soon() }));
    const other = open((call) => ({ password: `p${call}`, expiresAt: soon() }));
    await Promise.all([same.source.fresh(), other.source.fresh()]);
    await until(() => same.calls() > 2 && other.renewals() > 1);
    expect(same.renewals()).to.equal(0);
  });

  it("does not call the function after it was closed", async () => {
    const { source, calls } = open(() => ({ password: "p" }));
    source.close();
    source.check();
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls()).to.equal(0);
  });
});
