import { expect } from "chai";
import type { Outcome } from "../../../packages/core/src/response-cache/collapsing.js";
import { RequestCollapser } from "../../../packages/core/src/response-cache/collapsing.js";
import { until } from "../../support/until.js";

/** Longer than any test. */
const waitMs = 3_600_000;

function open(options: { readonly waitMs?: number; readonly bodyMs?: number } = {}) {
  const clock = { ms: 0 };
  const flights = new RequestCollapser<string>({ waitMs, now: () => clock.ms, ...options });
  const join = (): Promise<Outcome<string>> => flights.join("k", flights.deadline);
  return { clock, flights, join };
}

describe("requests for one thing", () => {
  it("get the result of the first; later requests do not wait", async () => {
    const { flights, join } = open();
    const flight = flights.start("k");
    expect(flights.start("k")).to.equal(undefined);
    const joined = [join(), join()];
    flight?.share("made");
    expect(await Promise.all(joined)).to.deep.equal(
      Array.from({ length: 2 }, () => ({ kind: "shared", value: "made" })),
    );
    expect([flights.hasSharedSince("k", 0), await join()]).to.deep.equal([true, { kind: "own" }]);
  });

  it("are let go at once by one that may never have a body, and who comes later takes its turn when that is over", async () => {
    const { flights, join } = open();
    const flight = flights.start("k");
    const joined = join();
    flight?.release();
    expect([await joined, await join()]).to.deep.equal([{ kind: "own" }, { kind: "own" }]);
    flight?.abandon();
    expect(flights.start("k")).not.to.equal(undefined);
  });

  it("are released all at once when a head was sent without a body, and no later request waits for that response", async () => {
    const { flights, join } = open({ bodyMs: 10 });
    const flight = flights.start("k");
    const joined = Array.from({ length: 100 }, join);
    flight?.headSent();
    expect(new Set((await Promise.all(joined)).map(({ kind }) => kind))).to.deep.equal(new Set(["own"]));
    // It is not replaced either: the next would make the others wait again.
    expect([flights.start("k"), flights.isActive("k"), await join()]).to.deep.equal([undefined, true, { kind: "own" }]);
    flight?.share("whole");
    expect([flights.hasSharedSince("k", 0), flights.isActive("k")]).to.deep.equal([true, false]);
    expect(flights.start("k")).not.to.equal(undefined);
  });

  it("wait on when the head is sent and the body follows at once", async () => {
    const { flights, join } = open({ bodyMs: 60_000 });
    const flight = flights.start("k");
    const joined = join();
    flight?.headSent();
    flight?.share("whole");
    expect(await joined).to.deep.equal({ kind: "shared", value: "whole" });
  });

  it("do not wait for longer than their patience, however many give up before them one after another", async () => {
    const { clock, flights } = open({ waitMs: 1000 });
    const { deadline: patience } = flights;
    for (let round = 0; round < 3; round += 1) {
      const flight = flights.start("k");
      const joined = flights.join("k", patience);
      clock.ms += 400;
      flight?.abandon();
      expect((await joined).kind).to.equal("abandoned");
    }
    flights.start("k");
    expect(await flights.join("k", patience)).to.deep.equal({ kind: "own" });
  });

  it("do not wait without limit for a response that never ends", async () => {
    const { flights, join } = open({ waitMs: 20 });
    const flight = flights.start("k");
    await until(() => !flights.isActive("k"));
    // Waiting has proved useless.
    expect([flights.start("k"), await join()]).to.deep.equal([undefined, { kind: "own" }]);
    // It may still come.
    flight?.share("late");
    expect(flights.hasSharedSince("k", 0)).to.equal(true);
    expect(flights.start("k")).not.to.equal(undefined);
  });

  it("are not held up by one that ends twice", async () => {
    const { flights, join } = open();
    const first = flights.start("k");
    first?.abandon();
    const second = flights.start("k");
    const joined = join();
    first?.share("of the first");
    first?.keepForItself();
    second?.share("of the second");
    expect(await joined).to.deep.equal({ kind: "shared", value: "of the second" });
  });
});
