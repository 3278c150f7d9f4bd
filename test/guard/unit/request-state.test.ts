import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { exchangeFor, RequestState } from "../../../packages/core/src/adapter.js";
import type { Facts } from "../../../packages/core/src/index.js";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { withClaims } from "../../auth/support/mint.js";

const documented = ["auth", "cache", "quotas", "loginAttempt"];

describe("the facts that functions of the application get", () => {
  it("are the documented ones and nothing of the pipeline's state", async () => {
    const seen: Facts[] = [];
    const limit = (_raw: undefined, facts: Facts): number => seen.push(facts) + 5;
    const gate = openGate({ auth: testAuth, limits: [{ name: "own", per: "user", limit, window: "1m" }] });
    const exchange = fakeExchange({ headers: { authorization: `Bearer ${withClaims({})}` } });
    expect((await gate.guard().check(exchange)).allowed).to.be.true;
    expect(seen).to.have.length(1);
    const members = new Set<string>();
    for (const name in seen[0]) members.add(name);
    expect([...members]).to.have.members(documented);
    expect(seen[0]).not.to.equal(exchange.state);
    expect(seen[0]?.auth).to.equal(exchange.state.verified?.auth);
  });

  it("at a second gate are its own identity, and the cache and quotas of the request", () => {
    const request = {};
    const make = (state: RequestState) => ({ ...fakeExchange(), state });
    const [first, second] = [{}, {}].map((gate) => exchangeFor(request, { gate, identifies: true }, make).state);
    if (first === undefined || second === undefined) throw new Error("no exchange was made");
    expect(second.first).to.equal(first.first).and.to.equal(first);
    const verified = (token: string) => ({ auth: { token } }) as never;
    first.identify(verified("one"));
    expect(second.facts.auth).to.equal(undefined);
    expect(second.identified, "by any gate").to.be.true;
    second.identify(verified("two"));
    second.setCache({} as never);
    second.addQuotas([{ policy: "a" } as never]);
    first.addQuotas([{ policy: "b" } as never]);
    expect(first.facts.auth).to.deep.equal({ token: "one" });
    expect(second.facts.auth).to.deep.equal({ token: "two" });
    for (const { facts } of [first, second]) {
      expect(facts.cache).to.equal(first.facts.cache).and.not.to.equal(undefined);
      expect(facts.quotas.map(({ policy }) => policy)).to.deep.equal(["a", "b"]);
    }
    expect(first.verifiedTokens).to.deep.equal([verified("one"), verified("two")]);
  });

  it("are shown again only where they are new", () => {
    const state = new RequestState();
    const shown: Record<string, unknown> = {};
    state.identify({ auth: { token: "one" } } as never);
    state.showFacts(shown, "auth");
    expect(shown).to.deep.equal({ auth: { token: "one" }, quotas: [] });
    shown.auth = "of the application";
    state.begin();
    state.showFacts(shown, "auth");
    state.identify({ auth: { token: "one" } } as never);
    state.showFacts(shown, "auth");
    expect(shown.auth).to.equal("of the application");
    state.identify({ auth: { token: "two" } } as never);
    state.showFacts(shown, "auth");
    expect(shown.auth).to.deep.equal({ token: "two" });
  });
});
