import { expect } from "chai";
import {
  checkAudits,
  checkEverybodyIsAnswered,
  checkOwnValues,
  checkProcesses,
  checkStatuses,
} from "./checkers/answers.js";
import { checkNobodyWaitsInVain, checkNothingOld } from "./checkers/caches.js";
import {
  checkNoStreamBegins,
  checkNoStreamIsCutForNothing,
  checkStreamsAreCut,
  checkStreamsEndWithToken,
  timeOutside,
} from "./checkers/connections.js";
import {
  checkEverybodyCatchesUp,
  checkGapsAreTrue,
  checkLossesAreTold,
  checkNoEventIsLost,
  checkOrderAndOnce,
  checkOwnTopics,
} from "./checkers/events.js";
import { checkLimitsHold, checkNobodyIsRefused } from "./checkers/limits.js";
import { checkFences, checkHolds, checkLocksComeBack } from "./checkers/locks.js";
import { checkGuesses, checkNobodyIsLockedOut } from "./checkers/logins.js";
import { checkConsumedOnce, checkNoneIsLost, checkOnlyIssued } from "./checkers/one-time.js";
import { checkNoOrderTwice } from "./checkers/orders.js";
import { checkRevocation } from "./checkers/revocation.js";
import { checkRulesHold } from "./checkers/rules.js";
import { checkNobodyIsSignedOut, checkSuccessors } from "./checkers/sessions.js";
import { checkGiveBacks, checkSlotsComeBack, checkWorkIsBounded } from "./checkers/slots.js";
import type { Checker } from "./checkers/violation.js";
import { checkers } from "./checkers/index.js";
import type { Entry, Facts, Operation, Stream, Work } from "./history.js";
import { guesses, limits, slots } from "./settings.js";
import {
  calm,
  degradation,
  end,
  fault,
  fenced,
  gap,
  history,
  hold,
  idAt,
  many,
  message,
  operation,
  place,
  post,
  reach,
  stream,
  work,
} from "./support/made.js";

function holds(check: Checker, ...entries: readonly (Entry | readonly Entry[])[]): void {
  expect(check(history(...entries)).map(({ message }) => message)).to.deep.equal([]);
}

function fails(check: Checker, ...entries: readonly (Entry | readonly Entry[])[]): void {
  expect(check(history(...entries))).to.not.be.empty;
}

const token: Facts = { session: "s", subject: "alice", token: "s 0", since: 0 };

describe("the checkers of the chaos test", () => {
  it("find nothing in an empty history", () => {
    for (const check of checkers) holds(check);
  });

  describe("of revocation", () => {
    const read = (start: number, more: Partial<Operation> = {}): Operation =>
      operation("read", start, { args: token, answer: { subject: "alice" }, ...more });
    const ended = (name: string, more: Partial<Operation> = {}): Operation =>
      operation(name, 100, { status: 204, args: token, ...more });

    for (const name of ["revoke", "logout", "everywhere"]) {
      it(`find a token that passes after ${name} was confirmed`, () => {
        fails(checkRevocation, ended(name), read(200));
        fails(checkRevocation, ended(name), read(1_000_000));
      });

      it(`accept refusals after ${name}, and any answer to requests from before it was confirmed`, () => {
        holds(checkRevocation, ended(name), read(105), read(200, { status: 401 }), read(300, { status: 503 }));
        holds(checkRevocation, ended(name, { status: 503 }), read(200));
      });
    }

    it("find a refresh token that is exchanged after its session was ended", () => {
      const args = { session: "s", subject: "alice", refreshed: "s 0", since: 0 };
      fails(checkRevocation, ended("logout"), operation("refresh", 200, { args }));
      holds(checkRevocation, ended("revoke"), operation("refresh", 200, { args }));
    });

    it("let another session live after a logout, and a new one after all were ended", () => {
      holds(checkRevocation, ended("logout"), read(200, { args: { ...token, session: "t", token: "t 0" } }));
      holds(checkRevocation, ended("everywhere"), read(300, { args: { ...token, session: "t", since: 250 } }));
      fails(checkRevocation, ended("everywhere"), read(300, { args: { ...token, session: "t", since: 50 } }));
    });

    it("know for how long a process may keep an answer", () => {
      holds(checkRevocation, ended("logout"), read(1000, { process: 1 }));
      fails(checkRevocation, ended("logout"), read(5000, { process: 1 }));
    });

    it("let a failover lose revocations that no replica has confirmed", () => {
      const failover = fault(200, 3000, { loses: true });
      holds(checkRevocation, ended("logout"), failover, read(5000));
      fails(checkRevocation, ended("revoke", { args: { ...token, replicated: true } }), failover, read(5000));
      fails(checkRevocation, ended("logout"), fault(200, 3000), read(5000));
    });
  });

  describe("of sessions", () => {
    const args = { session: "s", subject: "alice", refreshed: "s 0", since: 0, firstSent: 100 };
    const refresh = (start: number, successor: string, more: Partial<Operation> = {}): Operation =>
      operation("refresh", start, { args, answer: { successor }, ...more });

    it("find two successors of a refresh token", () => {
      holds(checkSuccessors, refresh(100, "a"), refresh(101, "a"));
      fails(checkSuccessors, refresh(100, "a"), refresh(101, "b"));
    });

    it("find a session that has ended for nothing", () => {
      fails(checkNobodyIsSignedOut, refresh(100, "", { status: 400 }));
      fails(checkNobodyIsSignedOut, operation("read", 100, { args: token, status: 401 }));
      holds(checkNobodyIsSignedOut, operation("read", 100, { args: token, status: 503 }));
    });

    it("accept one that was ended by its user, or may have been", () => {
      for (const status of [204, 503, 0]) {
        const ending = operation("logout", 50, { status, args: token });
        holds(checkNobodyIsSignedOut, ending, operation("read", 100, { args: token, status: 401 }));
      }
      const other = operation("logout", 50, { args: { ...token, session: "t" } });
      fails(checkNobodyIsSignedOut, other, operation("read", 100, { args: token, status: 401 }));
    });

    it("accept the end of one whose client asked again after the overlap", () => {
      holds(checkNobodyIsSignedOut, refresh(11_000, "", { status: 400 }));
      fails(checkNobodyIsSignedOut, refresh(9000, "", { status: 400 }));
    });
  });

  describe("of logins", () => {
    const login = (start: number, status: number, more: Facts = {}): Operation =>
      operation("login", start, { status, args: { subject: "alice", from: "10.0.0.1", right: true, ...more } });

    it("find a right password that is refused", () => {
      fails(checkNobodyIsLockedOut, login(100, 401));
      fails(checkNobodyIsLockedOut, login(100, 429));
      fails(checkNobodyIsLockedOut, login(100, 503));
      fails(checkNobodyIsLockedOut, fault(0, 1000), login(10_000, 429));
    });

    it("accept trouble while there is some", () => {
      holds(checkNobodyIsLockedOut, login(100, 200), login(200, 401, { right: false }));
      holds(checkNobodyIsLockedOut, fault(0, 1000), login(500, 429), login(600, 503));
      holds(checkNobodyIsLockedOut, degradation(400), login(500, 503));
      fails(checkNobodyIsLockedOut, fault(0, 1000), login(500, 401));
    });

    it("accept 503 of a machine that is too busy, and no refusal", () => {
      const busy = fault(0, 400, { what: "busy", processes: [1] });
      holds(checkNobodyIsLockedOut, busy, login(500, 503));
      fails(checkNobodyIsLockedOut, busy, login(500, 429));
      fails(checkNobodyIsLockedOut, busy, login(10_000, 503));
    });

    it("find more guesses than allowed, and accept those that processes grant by themselves", () => {
      const guess = (index: number): Operation => login(100 + index, 401, { right: false });
      holds(checkGuesses, many(guesses, guess), login(200, 429, { right: false }));
      fails(checkGuesses, many(guesses + 1, guess));
      holds(checkGuesses, fault(0, 1000), many(guesses + 1, guess));
      fails(checkGuesses, fault(0, 1000), many(3 * guesses, guess));
    });
  });

  describe("of limits", () => {
    for (const policy of ["fixed", "sliding", "bucket", "leased"] as const) {
      const { limit } = limits[policy];
      const admitted = (index: number): Operation => operation("limited", 100 + index, { args: { policy, key: "k" } });

      it(`find more than the limit of "${policy}" may be`, () => {
        holds(checkLimitsHold, many(limit, admitted));
        fails(checkLimitsHold, many(limit + 2, admitted));
      });

      it(`accept as many requests of "${policy}" as processes may admit while Redis is down, and no more`, () => {
        holds(checkLimitsHold, fault(0, 1000), many(2 * limit, admitted));
        holds(checkLimitsHold, degradation(50), many(2 * limit, admitted));
        fails(checkLimitsHold, fault(0, 1000), many(2 * limit + 20, admitted));
        fails(checkLimitsHold, fault(-20_000, -10_000), many(limit + 2, admitted));
      });
    }

    it("find a request that is refused before the limit was used", () => {
      const args = { policy: "fixed", key: "k" };
      const one = (index: number): Operation => operation("limited", 100 + 20 * index, { args });
      const refused = operation("limited", 10_000, { args, status: 429 });
      fails(checkNobodyIsRefused, many(limits.fixed.limit - 1, one), refused);
      holds(checkNobodyIsRefused, many(limits.fixed.limit, one), refused);
      holds(checkNobodyIsRefused, fault(9000, 9500), refused);
    });
  });

  describe("of slots", () => {
    it("find more handlers at once than there are slots", () => {
      holds(
        checkWorkIsBounded,
        many(slots.limit, (index) => work(100 + index, 500)),
      );
      fails(
        checkWorkIsBounded,
        many(slots.limit + 1, (index) => work(100 + index, 500)),
      );
      holds(
        checkWorkIsBounded,
        fault(0, 150),
        many(slots.limit + 1, (index) => work(100 + index, 500)),
      );
      fails(
        checkWorkIsBounded,
        fault(0, 150),
        many(20, (index) => work(100 + index, 500)),
      );
    });

    it("count those that follow each other once", () => {
      holds(
        checkWorkIsBounded,
        many(20, (index) => work(100 * index, 100 * index + 90)),
      );
    });

    const tried = (statuses: readonly number[]): Operation[] =>
      statuses.map((status) => operation("all-slots", 1500, { status, args: { key: "one", round: "1 one 0" } }));

    it("find slots that do not come back", () => {
      holds(checkSlotsComeBack, calm(1000), tried([200, 200, 200]));
      fails(checkSlotsComeBack, calm(1000), tried([200, 200, 429]));
      fails(checkSlotsComeBack, calm(1000), tried([503, 503, 503]));
    });

    it("accept that a process which was killed had some", () => {
      const pending = operation("slots", 400, { end: 600, status: 0, args: { key: "one" } });
      holds(checkSlotsComeBack, pending, end(500), calm(1000), tried([200, 200, 429]));
      fails(checkSlotsComeBack, pending, end(500), calm(1000), tried([200, 429, 429]));
      fails(checkSlotsComeBack, pending, end(500, { how: "asked" }), calm(1000), tried([200, 200, 429]));
    });

    it("accept that one which ended while Redis was away had some, and no others", () => {
      const [ended, without] = [end(9500, { how: "asked" }), fault(9000, 9900)];
      const one = (start: number, more: Partial<Operation> = {}): Operation =>
        operation("slots", start, { args: { key: "one" }, ...more });
      const after = [calm(12_000), tried([200, 200, 429]).map((entry) => ({ ...entry, start: 12_500, end: 12_600 }))];
      holds(checkSlotsComeBack, one(9100), without, ended, ...after);
      fails(checkSlotsComeBack, one(9100, { process: 1 }), without, ended, ...after);
      fails(checkSlotsComeBack, one(9100), fault(9000, 9900, { processes: [1] }), ended, ...after);
      // What ended before the outage was given back, but for what an outage shortly before that had held up.
      fails(checkSlotsComeBack, one(2100), without, ended, ...after);
      fails(checkSlotsComeBack, one(2100), fault(2000, 6500), without, ended, ...after);
      holds(checkSlotsComeBack, one(2100), fault(2000, 7500), without, ended, ...after);
    });

    it("do not take requests for held that a process had answered long before it was killed", () => {
      const refused = operation("slots", 100, { status: 429, args: { key: "one" } });
      const left = operation("slots", 200, { status: 0, left: true, args: { key: "one" } });
      const after = [calm(9000), tried([200, 200, 429]).map((entry) => ({ ...entry, start: 9500, end: 9600 }))];
      fails(checkSlotsComeBack, refused, left, end(8000), ...after);
    });

    const spend = (count: number): Entry[] =>
      many(count, (index) => operation("settled", 100 * index, { args: { policy: "settled", key: "k" } })).flatMap(
        (one) => [one, work(one.start + 1, one.end - 1, { operation: one.id, policy: "settled", key: "k" })],
      );
    const peek = (consumed: number): Operation =>
      operation("peek", 60_000, { args: { policy: "settled", key: "k" }, answer: { consumed } });

    it("find slots that were never given back, and slots that were given back twice", () => {
      holds(checkGiveBacks, spend(5), peek(5));
      fails(checkGiveBacks, spend(5), peek(9));
      fails(checkGiveBacks, spend(5), peek(1));
    });

    it("accept both results of a consumption whose reply was lost", () => {
      holds(checkGiveBacks, fault(90, 110), spend(5), peek(9));
      fails(checkGiveBacks, fault(90, 110), spend(5), peek(14));
      fails(checkGiveBacks, fault(9000, 10_000), spend(5), peek(9));
      fails(checkGiveBacks, fault(409, 1000), spend(5), peek(9));
    });

    it("accept that a process which died took it along, and one that ended without Redis", () => {
      holds(checkGiveBacks, spend(5), end(450), peek(9));
      holds(checkGiveBacks, fault(409, 1000), spend(5), end(500, { how: "asked" }), peek(9));
      fails(checkGiveBacks, spend(5), end(500, { how: "asked" }), peek(9));
    });
  });

  describe("of caches", () => {
    const thing = { thing: "cached 1" };
    const change = (version: number, start: number, more: Partial<Operation> = {}): Operation =>
      operation("change", start, { args: { ...thing, by: "/cached/delete" }, answer: { version }, ...more });
    const read = (version: number, start: number, more: Partial<Operation> = {}): Operation =>
      operation("cached", start, { args: thing, answer: { version }, process: 2, ...more });

    it("find an old value after a confirmed change", () => {
      fails(checkNothingOld, change(2, 100), read(1, 5000));
      holds(checkNothingOld, change(2, 100), read(2, 5000), read(3, 6000));
      fails(checkNothingOld, change(2, 100), change(3, 200), read(2, 60_000));
    });

    it("accept one within the staleness, of another thing, or after a change that was not confirmed", () => {
      holds(checkNothingOld, change(2, 100), read(1, 300));
      holds(checkNothingOld, change(2, 100), read(1, 5000, { args: { thing: "cached 2" } }));
      holds(checkNothingOld, change(2, 100, { status: 503 }), read(1, 5000));
    });

    it("let a failover lose a change, and no other fault", () => {
      holds(checkNothingOld, change(2, 100), fault(200, 1000, { loses: true }), read(1, 5000));
      fails(checkNothingOld, change(2, 100), fault(200, 1000), read(1, 5000));
    });

    it("want the purge of a POST that Redis did not hear to be made up for", () => {
      const post = change(2, 100, { args: { ...thing, by: "/page" } });
      const again = read(2, 10_000, { process: post.process });
      holds(checkNothingOld, fault(0, 1000), post, read(1, 5000), again);
      fails(checkNothingOld, fault(0, 1000), post, again, read(1, 20_000));
      holds(checkNothingOld, fault(0, 1000), post, read(1, 20_000));
      holds(checkNothingOld, fault(0, 1000), post, { ...again, life: 2 }, read(1, 20_000));
      fails(checkNothingOld, post, read(1, 5000));
    });

    it("want a value that was written while Redis was there", () => {
      const write = operation("write", 100, { status: 204, args: { thing: "written w", version: 2 } });
      const find = (version: number | null): Operation =>
        operation("written", 5000, { args: { thing: "written w" }, answer: { version } });
      fails(checkNothingOld, write, find(1));
      holds(checkNothingOld, write, find(2));
      holds(checkNothingOld, write, find(null));
      holds(checkNothingOld, fault(0, 200), write, find(1));
    });

    it("find a reader that waits for nobody, after a lost reply or while Redis is away", () => {
      const slow = read(1, 5000, { end: 8000 });
      fails(checkNobodyWaitsInVain, slow);
      fails(checkNobodyWaitsInVain, fault(4900, 5400), slow);
      holds(checkNobodyWaitsInVain, fault(4900, 5400, { what: "end" }), slow);
      holds(checkNobodyWaitsInVain, read(1, 5000, { end: 6000 }));
    });
  });

  describe("of locks and leaders", () => {
    const leader = { key: "leader writer" };

    it("find a fence that goes back or belongs to two, and a lost increment", () => {
      const read = fenced(150, 2, 1, { action: "read", process: 1 });
      holds(checkFences, fenced(100, 1, 1), read, fenced(200, 2, 2, { process: 1 }));
      holds(checkFences, fenced(100, 2, 1), fenced(200, 1, 2, { accepted: false, process: 1 }));
      fails(checkFences, fenced(100, 2, 1), fenced(200, 1, 2, { process: 1 }));
      fails(checkFences, fenced(100, 1, 1), read, fenced(200, 2, 1, { process: 1 }));
      fails(checkFences, fenced(100, 1, 1), fenced(200, 1, 2, { process: 1 }));
      fails(checkFences, fenced(100, 1, 1), fenced(200, 1, 2, { life: 2 }));
    });

    it("find two leaders whose writes are accepted", () => {
      const writes = [
        fenced(100, 1, 0, leader),
        fenced(150, 1, 0, leader),
        fenced(200, 2, 0, { ...leader, process: 1 }),
      ];
      holds(checkFences, writes, fenced(250, 1, 0, { ...leader, accepted: false }));
      fails(checkFences, writes, fenced(250, 1, 0, leader));
      fails(checkFences, writes, fenced(250, 2, 0, leader));
    });

    it("find two that hold a lock at once, but for a failover that may lose it", () => {
      holds(checkHolds, hold(100, 200), hold(200, 300), hold(150, 250, { name: "b" }));
      fails(checkHolds, hold(100, 200), hold(199, 300));
      holds(checkHolds, hold(100, 200), hold(199, 300), fault(150, 180, { loses: true }));
      fails(checkHolds, hold(100, 200), hold(199, 300), fault(150, 180));
      fails(checkHolds, hold(100, 200), hold(199, 300), fault(5000, 5100, { loses: true }));
    });

    it("find a lock that stays held", () => {
      holds(
        checkLocksComeBack,
        operation("free-lock", 100, { status: 204 }),
        operation("locked", 100, { status: 503 }),
      );
      fails(checkLocksComeBack, operation("free-lock", 100, { status: 503 }));
    });
  });

  describe("of orders", () => {
    const made = (entered: number, more: Partial<Work> = {}): Work =>
      work(entered, entered + 100, { policy: "orders", key: "k", ...more });
    const answer = (start: number, order: number): Operation =>
      operation("order", start, { args: { key: "k" }, answer: { order } });

    it("find one that is made twice, or answered in two ways", () => {
      fails(checkNoOrderTwice, made(100), made(400, { process: 1 }));
      fails(checkNoOrderTwice, made(100), made(150, { process: 1 }));
      fails(checkNoOrderTwice, made(100), answer(200, 1), answer(300, 2));
      fails(checkNoOrderTwice, fault(90_000, 91_000), end(90_000), made(100), made(400));
    });

    it("accept one that is made once, and two with different keys", () => {
      holds(checkNoOrderTwice, made(100), answer(100, 1), answer(300, 1));
      holds(checkNoOrderTwice, made(100), made(400, { key: "other" }));
    });

    it("know that it may be made again where its response may be lost", () => {
      holds(checkNoOrderTwice, fault(150, 5000), made(100), made(6000));
      holds(checkNoOrderTwice, end(250), made(100), made(6000, { process: 1 }));
      holds(checkNoOrderTwice, fault(1000, 2000, { loses: true }), made(100), made(6000, { process: 1 }));
      fails(checkNoOrderTwice, end(250, { process: 1 }), made(100), made(6000));
    });
  });

  describe("of blocks and overrides", () => {
    const block = operation("block", 100, { status: 204, args: { key: "eve" } });
    const override = operation("override", 100, { status: 204, args: { key: "bob" } });
    const ask = (start: number, key: string, status: number, policy: string): Operation =>
      operation("ruled", start, { status, args: { key }, answer: { policy } });

    it("find one that does not hold", () => {
      fails(checkRulesHold, block, ask(5000, "eve", 200, '"ruled";q=5000;w=3600'));
      fails(checkRulesHold, override, ask(5000, "bob", 200, '"ruled";q=5000;w=3600'));
      const skew = fault(4000, 6000, { what: "clock", processes: [0] });
      fails(checkRulesHold, skew, block, ask(5000, "eve", 200, '"ruled";q=5000;w=3600'));
    });

    it("accept those that hold, and processes that have not heard yet", () => {
      holds(checkRulesHold, block, ask(5000, "eve", 429, '"ruled";q=5000;w=3600'));
      holds(
        checkRulesHold,
        override,
        ask(5000, "bob", 200, '"ruled";q=7;w=3600'),
        ask(6000, "bob", 429, '"ruled";q=7;w=3600'),
      );
      holds(checkRulesHold, block, ask(500, "eve", 200, '"ruled";q=5000;w=3600'));
      holds(checkRulesHold, fault(4000, 6000), block, ask(5000, "eve", 200, ""));
    });

    it("know that a process says nothing of the limit when it decides without Redis", () => {
      holds(checkRulesHold, override, degradation(5000), ask(5000, "bob", 200, ""), ask(5100, "bob", 429, ""));
      fails(checkRulesHold, override, ask(5000, "bob", 200, ""));
      fails(checkRulesHold, override, degradation(5000, 1), ask(5000, "bob", 200, ""));
    });
  });

  describe("of one-time values", () => {
    const issue = operation("issue", 100, { args: { value: "v" } });
    const consume = (start: number, found: string | null, more: Partial<Operation> = {}): Operation =>
      operation("consume", start, { args: { value: "v" }, answer: { found }, ...more });

    it("find a value that is consumed twice, also by one client", () => {
      fails(checkConsumedOnce, issue, consume(200, "v"), consume(200, "v"));
      fails(checkConsumedOnce, issue, consume(200, "v"), consume(9000, "v"));
      fails(checkConsumedOnce, issue, fault(150, 400), consume(200, "v"), consume(9000, "v"));
      holds(checkConsumedOnce, issue, consume(200, "v"), consume(200, null), consume(300, null, { status: 503 }));
    });

    it("let a failover lose a consumption that was confirmed just before, and no other", () => {
      const failover = fault(500, 3000, { loses: true });
      holds(checkConsumedOnce, issue, failover, consume(300, "v"), consume(5000, "v"));
      fails(checkConsumedOnce, issue, failover, consume(300, "v"), consume(5000, "v"), consume(6000, "v"));
      fails(checkConsumedOnce, issue, fault(5000, 6000, { loses: true }), consume(300, "v"), consume(8000, "v"));
    });

    it("find a value that was never issued, or is of another token", () => {
      const forged = { args: { value: "none" } };
      fails(checkOnlyIssued, consume(200, "v", forged));
      fails(checkOnlyIssued, issue, consume(200, "w"));
      holds(checkOnlyIssued, issue, consume(200, "v"), consume(200, null, forged));
    });

    it("find a value that nobody got, though nobody was answered 503", () => {
      fails(checkNoneIsLost, issue, consume(200, null));
      fails(checkNoneIsLost, issue, fault(110, 190), consume(200, null), consume(300, null));
      holds(checkNoneIsLost, issue, consume(200, null), consume(200, "v"));
      holds(checkNoneIsLost, issue, consume(200, null, { status: 503 }), consume(300, null));
      holds(checkNoneIsLost, issue, consume(200, null, { status: 0, left: true }), consume(300, null));
      holds(checkNoneIsLost, issue, fault(200, 900, { loses: true }), consume(2000, null));
      holds(checkNoneIsLost, operation("issue", 100, { status: 503, args: { value: "v" } }));
      holds(checkNoneIsLost, issue);
    });
  });

  describe("of events", () => {
    const posts = [post(100), post(200), post(300)];
    const failover = fault(150, 250, { loses: true });

    it("find an event that did not come, between two that came, also over streams that resume", () => {
      holds(checkNoEventIsLost, posts, stream([message(100), message(200), message(300)]));
      fails(checkNoEventIsLost, posts, stream([message(100), message(300)]));
      fails(checkNoEventIsLost, posts, stream([message(100)]), stream([message(300)], { process: 1 }));
      holds(checkNoEventIsLost, posts, stream([message(100)]), stream([message(200), message(300)], { process: 1 }));
    });

    it("find an event that did not come before the place that the reader was told", () => {
      fails(checkNoEventIsLost, posts, stream([place(150), place(250)]));
      fails(checkNoEventIsLost, posts, stream([message(100), place(200)]));
      holds(checkNoEventIsLost, posts, stream([place(100), message(200), place(250)]));
    });

    it("know nothing of what was before the first event or behind the last one, or of another topic", () => {
      holds(checkNoEventIsLost, posts, stream([message(200)]));
      holds(checkNoEventIsLost, posts, stream([message(100), message(200)]));
      const other = post(200, { args: { publisher: "publisher", number: 200, topic: "user:other" } });
      holds(checkNoEventIsLost, post(100), other, post(300), stream([message(100), message(300)]));
    });

    it("find an event that was not confirmed and that only others got, and no event that nobody got", () => {
      const unsure = post(200, { status: 503, answer: {} });
      const whole = stream([message(100), message(200), message(300)], { client: "other" });
      holds(checkNoEventIsLost, unsure, stream([message(100), message(300)]));
      fails(checkNoEventIsLost, unsure, whole, stream([message(100), message(300)]));
    });

    it("excuse what lies within a gap, and nothing else", () => {
      holds(checkNoEventIsLost, posts, stream([message(100), gap(290), message(300)]));
      fails(checkNoEventIsLost, posts, stream([gap(50), message(100), message(300)]));
      fails(checkNoEventIsLost, posts, stream([message(100), message(300), gap(310)]));
    });

    it("let a failover lose what was confirmed just before it, and no other fault", () => {
      holds(checkNoEventIsLost, posts, failover, stream([message(100), message(300)]));
      fails(checkNoEventIsLost, posts, fault(150, 250), stream([message(100), message(300)]));
      fails(checkNoEventIsLost, posts, fault(5000, 6000, { loses: true }), stream([message(100), message(300)]));
    });

    it("find a reader that has what was lost, and was not told", () => {
      const others = stream([message(100), message(300)], { client: "other" });
      const told = [...posts, failover, others];
      fails(checkLossesAreTold, told, stream([message(100), message(200), message(300)]));
      holds(checkLossesAreTold, told, stream([message(100), message(200), gap(260), message(300)]));
      holds(checkLossesAreTold, told, stream([message(100), message(200)]));
      holds(checkLossesAreTold, posts, failover, stream([message(100), message(200), message(300)]));
    });

    it("find an event that comes twice, late, or under another id than it was published", () => {
      holds(checkOrderAndOnce, posts, stream([place(50), message(100), message(200), place(250), message(300)]));
      fails(checkOrderAndOnce, posts, stream([message(100)]), stream([message(100)], { start: 101, process: 1 }));
      fails(checkOrderAndOnce, posts, stream([message(200), message(100)]));
      fails(checkOrderAndOnce, posts, stream([place(250), message(200)]));
      fails(checkOrderAndOnce, stream([message(100), { ...message(100), id: idAt(150) } as Stream["told"][number]]));
      fails(checkOrderAndOnce, posts, stream([{ ...message(100), id: idAt(150) } as Stream["told"][number]]));
      fails(checkOrderAndOnce, post(100), post(200), stream([message(200), gap(210), message(100)]));
      fails(checkOrderAndOnce, stream([message(100), gap(110), message(200), message(100)]));
    });

    it("accept lower ids behind a gap: the log is another one", () => {
      holds(checkOrderAndOnce, stream([message(200), gap(210), place(100), message(150)]));
    });

    it("find a gap that is told for nothing, also when a failover was long before", () => {
      fails(checkGapsAreTrue, stream([message(100), gap(200), message(300)]));
      fails(checkGapsAreTrue, fault(150, 160), stream([message(100), gap(200), message(300)]));
      holds(checkGapsAreTrue, failover, stream([message(100), gap(260), message(300)]));
      fails(checkGapsAreTrue, failover, stream([message(20_000), gap(20_100), message(20_200)]));
    });

    it("find a reader that does not get what is published when all is well", () => {
      const marked = (id: number, status = 200): Operation =>
        post(id, { status, args: { publisher: "marker", number: id, topic: "news", calm: 1 } });
      holds(checkEverybodyCatchesUp, marked(300), stream([message(300)], { look: 1 }));
      holds(checkEverybodyCatchesUp, marked(200, 503), marked(300), stream([message(300)], { look: 1 }));
      fails(checkEverybodyCatchesUp, marked(300), stream([message(200)], { look: 1 }));
      fails(checkEverybodyCatchesUp, marked(300), stream([message(300)]), stream([], { look: 1, client: "other" }));
      fails(checkEverybodyCatchesUp, marked(300, 503));
    });

    it("find an event of another user, and a stream of another user's topic", () => {
      holds(checkOwnTopics, stream([message(100), message(200, "user:reader")]));
      fails(checkOwnTopics, stream([message(100), message(200, "user:other")]));
      fails(checkOwnTopics, stream([], { foreign: true, resumes: false }));
      holds(checkOwnTopics, stream([], { foreign: true, resumes: false, status: 403 }));
    });
  });

  describe("of open streams", () => {
    const open = (until: number, more: Partial<Stream> = {}): Stream =>
      stream([], { opened: 10, end: until, how: "ended", reason: "session_ended", args: token, ...more });
    const ended = (name: string, more: Partial<Operation> = {}): Operation =>
      operation(name, 100, { status: 204, args: token, ...more });

    for (const name of ["logout", "everywhere", "revoke", "revoked-key"]) {
      it(`find a stream that stays open after ${name} was confirmed, also one that its client has left`, () => {
        holds(checkStreamsAreCut, ended(name), open(1000), open(50));
        fails(checkStreamsAreCut, ended(name), open(5000));
        fails(checkStreamsAreCut, ended(name), open(5000, { process: 2, how: "left", reason: undefined }));
        holds(checkStreamsAreCut, ended(name, { status: 503 }), open(5000));
      });
    }

    it("let streams of other sessions, and of sessions that began later, stay open", () => {
      holds(checkStreamsAreCut, ended("logout"), open(5000, { args: { ...token, session: "t" } }));
      holds(checkStreamsAreCut, ended("revoked-key"), open(5000, { args: { ...token, token: "s 1" } }));
      holds(checkStreamsAreCut, ended("everywhere"), open(5000, { args: { ...token, since: 200 } }));
      fails(checkStreamsAreCut, ended("everywhere"), open(5000, { args: { ...token, session: "t", since: 50 } }));
    });

    it("count the time in which the process runs and reaches Redis", () => {
      for (const what of ["redis", "stop", "busy"] as const) {
        holds(checkStreamsAreCut, ended("logout"), fault(200, 4500, { what, processes: [0] }), open(5000));
        fails(checkStreamsAreCut, ended("logout"), fault(200, 4500, { what, processes: [1] }), open(5000));
        fails(checkStreamsAreCut, ended("logout"), fault(200, 1000, { what, processes: [0] }), open(5000));
      }
      fails(checkStreamsAreCut, ended("logout"), fault(200, 4500, { what: "clock", processes: [0] }), open(5000));
    });

    it("wait after a fault until the process says that it reaches Redis, but only for seconds", () => {
      const short = fault(200, 1000, { processes: [0] });
      holds(checkStreamsAreCut, ended("logout"), short, reach(300, false), reach(4500, true), open(5000));
      fails(checkStreamsAreCut, ended("logout"), short, reach(300, false), reach(1500, true), open(5000));
      fails(checkStreamsAreCut, ended("logout"), short, reach(300, false, 1), reach(4500, true, 1), open(5000));
      fails(checkStreamsAreCut, ended("logout"), short, reach(300, false), open(20_000));
      fails(checkStreamsAreCut, ended("logout"), reach(300, false), reach(4500, true), open(5000));
    });

    it("let a failover lose the end of a session that no replica has confirmed", () => {
      const failover = fault(200, 300, { loses: true });
      holds(checkStreamsAreCut, ended("logout"), failover, open(9000));
      fails(checkStreamsAreCut, ended("revoke", { args: { ...token, replicated: true } }), failover, open(9000));
    });

    it("find a stream that begins after the end of its session", () => {
      fails(checkNoStreamBegins, ended("logout"), open(300, { start: 200, opened: 210 }));
      holds(checkNoStreamBegins, ended("logout"), open(300, { start: 200, opened: 210, process: 1 }));
      fails(checkNoStreamBegins, ended("logout"), open(9000, { start: 8000, opened: 8010, process: 1 }));
      holds(checkNoStreamBegins, ended("logout"), open(300, { start: 200, status: 401 }), open(300, { start: 90 }));
    });

    it("find a stream that outlives its token, also while Redis is away", () => {
      const expiring = (until: number): Stream => open(until, { expires: 3000, reason: "expired" });
      holds(checkStreamsEndWithToken, expiring(3200), open(9000));
      fails(checkStreamsEndWithToken, expiring(9000));
      fails(checkStreamsEndWithToken, fault(2000, 9000), expiring(9000));
      fails(checkStreamsEndWithToken, open(9000, { opened: 7000, expires: 3000 }));
      holds(checkStreamsEndWithToken, fault(2000, 8500, { what: "stop" }), expiring(9000));
      holds(checkStreamsEndWithToken, fault(2000, 8500, { what: "clock" }), expiring(7000));
      fails(checkStreamsEndWithToken, fault(2000, 8500, { what: "clock" }), expiring(30_000));
    });

    it("find a stream that ends, breaks or is refused for nothing", () => {
      for (const reason of ["revoked", "session_ended", "expired", "closed", "slow", undefined])
        fails(checkNoStreamIsCutForNothing, open(5000, { reason }));
      fails(checkNoStreamIsCutForNothing, open(5000, { how: "broken", reason: undefined }));
      fails(checkNoStreamIsCutForNothing, end(6000), open(5000, { how: "broken", reason: undefined }));
      for (const status of [204, 401, 403, 404, 429, 500, 0])
        fails(checkNoStreamIsCutForNothing, open(5000, { status, reason: undefined }));
    });

    it("accept ends and refusals that have a reason, and clients that leave", () => {
      holds(checkNoStreamIsCutForNothing, open(5000, { how: "left", reason: undefined }));
      for (const reason of ["revoked", "session_ended"])
        holds(checkNoStreamIsCutForNothing, ended("logout"), open(5000, { reason }));
      for (const status of [401, 204]) holds(checkNoStreamIsCutForNothing, ended("revoke"), open(5000, { status }));
      for (const status of [401, 204]) holds(checkNoStreamIsCutForNothing, open(5000, { status, expires: 4900 }));
      holds(checkNoStreamIsCutForNothing, open(5000, { reason: "expired", expires: 4900 }));
      holds(checkNoStreamIsCutForNothing, end(4900, { how: "asked", code: 0 }), open(5000, { reason: "closed" }));
      holds(checkNoStreamIsCutForNothing, end(4900), open(5000, { how: "broken", reason: undefined }));
      holds(checkNoStreamIsCutForNothing, fault(100, 4000, { what: "busy" }), open(5000, { reason: "slow" }));
      holds(checkNoStreamIsCutForNothing, open(5000, { status: 503 }), open(5000, { status: 403, foreign: true }));
    });

    it("count the time outside of intervals that meet", () => {
      expect(timeOutside([], 100, 300)).to.equal(200);
      expect(
        timeOutside(
          [
            [150, 250],
            [0, 110],
            [200, 260],
            [290, 900],
          ],
          100,
          300,
        ),
      ).to.equal(70);
      expect(timeOutside([[0, 1000]], 100, 300)).to.equal(0);
    });
  });

  describe("of answers and processes", () => {
    it("find failures that are not 503, and refusals where nobody did wrong", () => {
      fails(checkStatuses, operation("read", 100, { status: 500 }));
      fails(checkStatuses, operation("cached", 100, { status: 429 }));
      fails(checkStatuses, operation("read", 100, { status: 429 }));
      holds(checkStatuses, operation("read", 100, { status: 503 }), operation("limited", 100, { status: 429 }));
    });

    it("find requests that are not answered, or late", () => {
      fails(checkEverybodyIsAnswered, operation("read", 100, { end: 20_000 }));
      fails(checkEverybodyIsAnswered, operation("read", 100, { status: 0 }));
      holds(checkEverybodyIsAnswered, operation("read", 100, { status: 0, left: true }));
      const stopped = fault(0, 9000, { what: "stop", processes: [0] });
      holds(checkEverybodyIsAnswered, stopped, operation("read", 100, { end: 10_000 }));
      fails(checkEverybodyIsAnswered, stopped, operation("read", 100, { end: 10_000, process: 1 }));
    });

    it("accept that a busy machine gives a process no time", () => {
      const busy = fault(0, 9000, { what: "busy", processes: [0] });
      holds(checkEverybodyIsAnswered, busy, operation("read", 100, { end: 10_000 }));
      fails(checkEverybodyIsAnswered, busy, operation("read", 100, { status: 0 }));
    });

    it("find data of another user", () => {
      fails(checkOwnValues, operation("read", 100, { args: token, answer: { subject: "bob" } }));
      holds(checkOwnValues, operation("read", 100, { args: token, answer: { subject: "alice" } }));
    });

    it("find processes that complain, crash, or do not end", () => {
      fails(checkProcesses, { type: "complaint", process: 0, at: 1, text: "unhandled rejection" });
      fails(checkProcesses, end(1, { how: "crashed", code: 1 }));
      fails(checkProcesses, end(1, { how: "asked", code: null, ms: 20_000 }));
      holds(checkProcesses, end(1), end(2, { how: "asked", code: 0, ms: 500 }));
    });

    it("find keys without an end, and memory without a bound", () => {
      fails(checkAudits, { type: "audit", at: 1, endlessKeys: ["k"], heapBytes: [], openConnections: [] });
      fails(checkAudits, { type: "audit", at: 1, endlessKeys: [], heapBytes: [1e9], openConnections: [] });
      holds(checkAudits, { type: "audit", at: 1, endlessKeys: [], heapBytes: [5e7], openConnections: [0] });
    });

    it("find streams that a process holds when all clients have left", () => {
      fails(checkAudits, { type: "audit", at: 1, endlessKeys: [], heapBytes: [], openConnections: [0, 1] });
    });
  });
});
