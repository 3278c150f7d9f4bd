import { expect } from "chai";
import { tokenExchange } from "../../../packages/core/src/guard/message-exchange.js";
import { resolveLimit } from "../../../packages/core/src/limits/options.js";
import type { LimitOptions } from "../../../packages/core/src/limits/options.js";
import { Settlement } from "../../../packages/core/src/limits/settlement.js";
import type { Adjustment, Consumption, UsageCorrections } from "../../../packages/core/src/store/ports/decisions.js";
import { until } from "../../support/until.js";
import { ruledCharge } from "../support/clocked-stores.js";
import { watchTimers } from "../../support/timers.js";

interface Followed {
  /** The response is over and the handler has ended. */
  (status: number): Promise<void>;
  readonly close: (status: number) => Promise<void>;
  readonly handle: () => Promise<void>;
}

function open() {
  let now = 0;
  const said: string[] = [];
  const adjusted: Adjustment[] = [];
  const renewed: Consumption[] = [];
  const expiring: [slot: string | undefined, afterMs: number][] = [];
  const store: UsageCorrections = {
    adjust: (adjustments) => void adjusted.push(...adjustments),
    renew: (charges) => void renewed.push(...charges),
    expire: ({ slot }, afterMs) => void expiring.push([slot, afterMs]),
  };
  const logger = { debug: () => undefined, warn: (_: object, message: string) => void said.push(message) };
  const settlement = new Settlement({ logger, now: () => now });

  /** A request with one charge; returns its end. */
  function follow(options: Partial<LimitOptions>, charge: Partial<Consumption>): Followed {
    const policy = resolveLimit("limit", { name: "p", per: "ip", limit: 5, window: "1m", ...options });
    const closing: ((status: number) => void)[] = [];
    const handled: (() => void)[] = [];
    const exchange = {
      ...tokenExchange("t"),
      onClose: (listener: (status: number) => void) => void closing.push(listener),
      onHandled: (listener: () => void) => void handled.push(listener),
    };
    const applied = { policy, consumption: ruledCharge({ key: "k", ...charge }) };
    settlement.follow(exchange, [{ applied, receipt: 7, store }]);
    const close = async (status: number): Promise<void> => {
      for (const listener of closing) listener(status);
      await new Promise((resolve) => setImmediate(resolve));
    };
    const handle = async (): Promise<void> => {
      for (const listener of handled) listener();
      await new Promise((resolve) => setImmediate(resolve));
    };
    const end = async (status: number): Promise<void> => {
      await handle();
      await close(status);
    };
    return Object.assign(end, { close, handle });
  }

  return { settlement, follow, adjusted, renewed, expiring, said, store, move: (ms: number) => (now += ms) };
}

describe("the settlement of a request", () => {
  it("gives back a cost that does not count by the status of the response", async () => {
    const counts: Record<string, number[]> = { failures: [], successes: [] };
    for (const countOnly of ["failures", "successes"] as const) {
      for (const status of [0, 101, 200, 304, 399, 400, 429, 503]) {
        const { follow, adjusted } = open();
        await follow({ countOnly }, { cost: 3 })(status);
        if (adjusted.length === 0) counts[countOnly]?.push(status);
        else expect(adjusted.map(({ by, receipt }) => [by, receipt])).to.deep.equal([[-3, 7]]);
      }
    }
    expect(counts).to.deep.equal({ failures: [0, 400, 429, 503], successes: [0, 101, 200, 304, 399] });
  });

  it("counts the difference to the real cost, and nothing without a difference", async () => {
    for (const [real, by] of [
      [9, [6]],
      [0, [-3]],
      [3, []],
      [undefined, []],
    ] as const) {
      const { follow, adjusted } = open();
      await follow({ settle: () => Promise.resolve(real) }, { cost: 3 })(200);
      expect(adjusted.map((one) => one.by)).to.deep.equal(by);
    }
  });

  it("keeps the reservation if the function fails, and logs it without the text of the error", async () => {
    for (const settle of [() => Promise.reject(new Error("secret")), () => -1, () => "2" as never, () => Number.NaN]) {
      const { follow, adjusted, said } = open();
      await follow({ settle }, {})(200);
      expect([adjusted, said]).to.deep.equal([[], ['portcullis: limit "p" could not be settled']]);
    }
  });

  it("waits for the handler after the end of the response, for a limited time", async () => {
    const slot = { algorithm: "concurrency", window: undefined } as const;
    for (const [options, charge] of [
      [slot, { slot: "a" }],
      [{ settle: () => 9 }, {}],
      [{ countOnly: "successes" }, {}],
    ] as const) {
      const { follow, adjusted } = open();
      const [first, second, third] = [follow(options, charge), follow(options, charge), follow(options, charge)];
      await first.close(404);
      expect(adjusted, "the handler works on").to.deep.equal([]);
      await first.handle();
      expect(adjusted).to.have.length(1);
      await second.handle();
      expect(adjusted, "the response is under way").to.have.length(1);
      await second.close(404);
      expect(adjusted).to.have.length(2);
      await third(404);
      await third.handle();
      expect(adjusted, "each once").to.have.length(3);

      const impatient = follow({ ...options, releaseAfter: 5 }, charge);
      await impatient.close(404);
      await until(() => adjusted.length === 4);
      await impatient.handle();
      expect(adjusted).to.have.length(4);
    }
  });

  it("waits no longer for the handler than the slot lasts, whatever decides the window", async () => {
    const { follow, adjusted } = open();
    await follow(
      { algorithm: "concurrency", window: () => "1s", releaseAfter: "1h" },
      { slot: "a", windowSeconds: 0.005 },
    ).close(0);
    await until(() => adjusted.length === 1);
  });

  it("renews no slot when the response is over, although the handler works on", async () => {
    const { settlement, follow, renewed, move } = open();
    const options = { algorithm: "concurrency", window: undefined } as const;
    const gone = follow(options, { slot: "a", windowSeconds: 60 });
    follow(options, { slot: "b", windowSeconds: 60 });
    await gone.close(0);
    for (let second = 0; second < 25; second += 1) {
      move(1000);
      settlement.renew();
    }
    expect(renewed.map(({ slot }) => slot)).to.deep.equal(["b"]);
    await gone.handle();
    settlement.close();
  });

  it("leaves slots that are held when it closes with no longer a life than their handlers are waited for", async () => {
    const { settlement, follow, expiring, store } = open();
    const options = { algorithm: "concurrency", window: "1m", releaseAfter: "5s" } as const;
    const charge = { limit: 5, windowSeconds: 60 };
    follow(options, { ...charge, slot: "answers" });
    await follow(options, { ...charge, slot: "works on" }).close(0);
    await follow(options, { ...charge, slot: "done" })(200);
    follow({ countOnly: "failures" }, { cost: 3 });
    follow({ ...options, releaseAfter: undefined }, { ...charge, windowSeconds: 2, slot: "short" });
    const policy = resolveLimit("limit", { name: "p", per: "ip", limit: 5, ...options });
    const [asked, refused] = ["asked", "refused"].map((slot) => ruledCharge({ key: "k", ...charge, slot }));
    settlement.expect({ policy, consumption: asked! }, store);
    settlement.expect({ policy, consumption: refused! }, store);
    settlement.answered(refused!);
    settlement.close();
    expect(expiring).to.deep.equal([
      ["answers", 5000],
      ["works on", 5000],
      ["short", 2000],
      ["asked", 5000],
    ]);
  });

  it("renews slots of requests that take long, each in time, until they have ended", async () => {
    const { settlement, follow, adjusted, renewed, move } = open();
    const options = { algorithm: "concurrency", window: undefined } as const;
    const end = follow(options, { slot: "a", windowSeconds: 60 });
    follow(options, { slot: "b", windowSeconds: 600 });
    for (let second = 0; second < 120; second += 1) {
      move(1000);
      settlement.renew();
    }
    expect(renewed.map(({ slot }) => slot)).to.deep.equal(["a", "a", "a", "a", "a", "a"]);
    await end(200);
    expect(adjusted.map(({ consumption: charge, by }) => [charge.slot, by])).to.deep.equal([["a", -1]]);
    for (let minute = 0; minute < 10; minute += 1) {
      move(60_000);
      settlement.renew();
    }
    expect(new Set(renewed.slice(6).map(({ slot }) => slot))).to.deep.equal(new Set(["b"]));
    settlement.close();
    move(600_000);
    settlement.renew();
    expect(renewed.filter(({ slot }) => slot === "b")).to.have.length(3);
  });

  it("renews the shortest slots in good time, whenever they were taken", () => {
    const timers = watchTimers();
    const { settlement, follow, renewed, move } = open();
    follow({ algorithm: "concurrency", window: "1s" }, { slot: "first", windowSeconds: 1 });
    const [timer] = timers;
    if (timer === undefined) throw new Error("there is no timer");
    const everyMs = timer._idleTimeout;
    for (let later = 0; later < everyMs; later += 10) {
      move(10);
      follow({ algorithm: "concurrency", window: "1s" }, { slot: `${later}`, windowSeconds: 1 });
    }
    const ticks = Math.floor(750 / everyMs);
    for (let count = 0; count < ticks; count += 1) {
      timer._onTimeout();
      move(everyMs);
    }
    expect(new Set(renewed.map(({ slot }) => slot))).to.have.property("size", everyMs / 10 + 1);
    settlement.close();
  });
});
