import { setTimeout as sleep } from "node:timers/promises";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Logger, TokensOptions } from "@portcullis/core";
import { TokenError } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { decodeJwt } from "jose";
import { cleanUp } from "../support/clean-up.js";
import { openGate } from "../support/fake-gate.js";
import type { FakeGate } from "../support/fake-gate.js";
import { freshPrefix, testRedisUrl } from "../support/redis.js";
import { rejectionOf } from "../support/rejection.js";
import { withoutGate } from "../support/without-gate.js";

const issuing = { signingKey: testSecret, issuer: testIssuer, audience: "shop" } as const;

/** How long a test waits for the end of an overlap of 30 ms. */
const afterOverlapMs = 50;

function countOf(gate: FakeGate, outcome: string): number {
  const metric = gate.metrics().find(({ name }) => name === "portcullis_refreshes_total");
  return metric?.samples.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
}

function listen(): unknown[] {
  const messages: unknown[] = [];
  const note = (message: unknown): void => void messages.push(message);
  subscribe("portcullis:refresh", note);
  cleanUp(() => unsubscribe("portcullis:refresh", note));
  return messages;
}

for (const store of ["in process", "in Redis"] as const) {
  describe(`an answer to a refresh that was lost, ${store}`, () => {
    let prefix: string;
    const logged: { readonly code?: string }[] = [];
    const logger: Logger = { debug: (fields) => logged.push(fields), warn: (fields) => logged.push(fields) };

    beforeEach(() => {
      prefix = freshPrefix();
      logged.length = 0;
    });

    function open(options: Partial<TokensOptions> = {}): FakeGate {
      const redis = store === "in process" ? "memory" : testRedisUrl();
      const tokens: TokensOptions = { ...issuing, overlap: "30ms", ...options };
      return openGate({ redis, prefix, logger, deadline: 1000, tokens });
    }

    async function verified(gate: FakeGate, ...tokens: readonly string[]): Promise<boolean[]> {
      return Promise.all(tokens.map(async (token) => (await gate.verify(token)).allowed));
    }

    it("is given again after the overlap while nobody presented the successor, counted and told", async () => {
      const gate = open();
      const messages = listen();
      const first = await gate.tokens.issue({ subject: "alice" });
      const lost = await gate.tokens.refresh(first.refreshToken);
      await sleep(afterOverlapMs);
      const again = await gate.tokens.refresh(first.refreshToken);
      expect(again).to.include({ refreshToken: lost.refreshToken, sessionId: first.sessionId });
      expect(await verified(gate, again.accessToken)).to.deep.equal([true]);
      expect(countOf(gate, "rotated")).to.equal(1);
      expect(countOf(gate, "repeated")).to.equal(1);
      expect(messages).to.have.length(1);
      expect(messages[0]).to.include({ code: "refresh_repeated" });
      expect((messages[0] as { afterMs: number }).afterMs).to.be.within(30, 10_000);
      expect(logged.map(({ code }) => code)).to.include("refresh_repeated");
      expect(JSON.stringify([messages, logged])).not.to.include("alice");
      // The session goes on.
      expect((await gate.tokens.refresh(again.refreshToken)).sessionId).to.equal(first.sessionId);
    });

    it("ends the session, with all access tokens, when the parent comes after its successor was presented once", async () => {
      const gate = open();
      const messages = listen();
      const first = await gate.tokens.issue({ subject: "alice" });
      const second = await gate.tokens.refresh(first.refreshToken);
      const third = await gate.tokens.refresh(second.refreshToken);
      expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.include({ code: "invalid_grant" });
      const access = [first, second, third].map(({ accessToken }) => accessToken);
      expect(await verified(gate, ...access)).to.deep.equal([false, false, false]);
      expect(await rejectionOf(gate.tokens.refresh(third.refreshToken))).to.be.instanceOf(TokenError);
      expect(messages.map(withoutGate)).to.deep.equal([
        { code: "refresh_reused" },
        { code: "refresh_refused", cause: "the token is revoked" },
      ]);
      expect(countOf(gate, "reused")).to.equal(1);
    });

    it("gives a thief of the parent what its owner has, and ends when one presents a token whose successor the other has presented", async () => {
      const gate = open();
      const first = await gate.tokens.issue({ subject: "alice" });
      const owner = await gate.tokens.refresh(first.refreshToken);
      await sleep(afterOverlapMs);
      const thief = await gate.tokens.refresh(first.refreshToken);
      expect(thief.refreshToken).to.equal(owner.refreshToken);
      const next = await gate.tokens.refresh(thief.refreshToken);
      // Within the time for lost answers of the thief's successor the owner gets the same tokens; then one of them is late.
      expect((await gate.tokens.refresh(owner.refreshToken)).refreshToken).to.equal(next.refreshToken);
      const later = await gate.tokens.refresh(next.refreshToken);
      expect(await rejectionOf(gate.tokens.refresh(owner.refreshToken))).to.include({ code: "invalid_grant" });
      expect(await verified(gate, later.accessToken)).to.deep.equal([false]);
    });

    it("goes on for a thief who refreshes as often as the owner, with one event for each refresh of the second", async () => {
      const gate = open();
      const messages = listen();
      let owner = await gate.tokens.issue({ subject: "alice" });
      let thief = owner;
      for (let round = 1; round <= 3; round += 1) {
        thief = await gate.tokens.refresh(thief.refreshToken);
        await sleep(afterOverlapMs);
        owner = await gate.tokens.refresh(owner.refreshToken);
        expect(owner.refreshToken).to.equal(thief.refreshToken);
        expect(messages.map((message) => (message as { code: string }).code)).to.deep.equal(
          Array<string>(round).fill("refresh_repeated"),
        );
      }
    });

    it("is not given after tokens.lostAnswer, nor after the overlap with lostAnswer 0 or overlap 0", async () => {
      for (const [options, isRepeated] of [
        [{ lostAnswer: "40ms" }, false],
        [{ lostAnswer: 0 }, false],
        [{ overlap: 0 }, false],
        [{ overlap: 0, lostAnswer: "10m" }, true],
        [{ overlap: "10s", lostAnswer: 0 }, true],
      ] as const) {
        const gate = open(options);
        const first = await gate.tokens.issue({ subject: "alice" });
        await gate.tokens.refresh(first.refreshToken);
        await sleep(afterOverlapMs);
        const outcome = await gate.tokens.refresh(first.refreshToken).then(
          () => true,
          () => false,
        );
        expect(outcome, JSON.stringify(options)).to.equal(isRepeated);
      }
    });

    it("is the same for two tabs, also of two processes, and for a token that comes late a hundred times", async () => {
      const [one, other] = store === "in process" ? [open()] : [open(), open()];
      const first = await one.tokens.issue({ subject: "alice" });
      const gates = [one, other ?? one];
      const tabs = await Promise.all(gates.map((gate) => gate.tokens.refresh(first.refreshToken)));
      await sleep(afterOverlapMs);
      const late = await Promise.all(
        Array.from({ length: 100 }, (_, index) => gates[index % 2]!.tokens.refresh(first.refreshToken)),
      );
      expect(new Set([...tabs, ...late].map(({ refreshToken }) => refreshToken)).size).to.equal(1);
      expect(new Set([...tabs, ...late].map(({ accessToken }) => accessToken)).size).to.equal(1);
    });

    it("has an access token that lives long enough to be used, if that of the first answer is nearly over", async () => {
      const gate = open({ accessLifetime: "3s", lostAnswer: "10m" });
      const first = await gate.tokens.issue({ subject: "alice", claims: { plan: "pro" } });
      const lost = await gate.tokens.refresh(first.refreshToken);
      await sleep(2000);
      const again = await gate.tokens.refresh(first.refreshToken);
      expect(again.refreshToken).to.equal(lost.refreshToken);
      expect(again.expiresIn).to.be.within(2, 3);
      expect(decodeJwt(again.accessToken)).to.include({ plan: "pro", sid: first.sessionId });
      expect(await verified(gate, again.accessToken)).to.deep.equal([true]);
      await gate.sessions.revokeAll("alice");
      expect(await verified(gate, lost.accessToken, again.accessToken)).to.deep.equal([false, false]);
      expect(await rejectionOf(gate.tokens.refresh(first.refreshToken))).to.include({ code: "invalid_grant" });
    });
  });
}
