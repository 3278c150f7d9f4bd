import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import type { Auth } from "@portcullis/core";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";

describeOnEveryFramework("records of the application beside those of the gate", (start) => {
  it("refuse a token, are asked at every request once, and after the records of the gate", async () => {
    const asked: string[] = [];
    const ended = new Set<string>();
    const isRevoked = async ({ subject }: Auth): Promise<boolean> => {
      asked.push(subject);
      await Promise.resolve();
      return ended.has(subject);
    };
    const { url } = await start({ revocation: { isRevoked } }, { use: (gate) => [gate.authenticate(), gate.guard()] });
    const token = await signToken();
    for (let round = 0; round < 2; round += 1) expect((await send(`${url}/me`, { token })).status).to.equal(200);
    expect(asked).to.deep.equal(["alice", "alice"]);
    ended.add("alice");
    const answer = await send(`${url}/me`, { token });
    expect([answer.status, (answer.json as { code: string }).code]).to.deep.equal([401, "token_invalid"]);
    ended.clear();
    expect((await send(`${url}/logout`, { method: "POST", token })).status).to.equal(204);
    asked.splice(0);
    expect((await send(`${url}/me`, { token })).status).to.equal(401);
    expect(asked).to.deep.equal([]);
    expect((await send(`${url}/me`)).status).to.equal(401);
    expect(asked).to.deep.equal([]);
  });

  it("let a revoked token use up the quota of its address, but none of its user", async () => {
    let isEnded = true;
    const limits = [
      { name: "ip", per: "ip", limit: 3, window: "1h" },
      { name: "user", per: "user", limit: 1, window: "1h" },
    ] as const;
    const { url } = await start({ limits, revocation: { isRevoked: () => isEnded } });
    const token = await signToken();
    for (let round = 0; round < 2; round += 1) expect((await send(`${url}/me`, { token })).status).to.equal(401);
    isEnded = false;
    const { status, headers } = await send(`${url}/me`, { token });
    expect([status, headers.ratelimit]).to.deep.equal([200, '"ip";r=0;t=3600, "user";r=0;t=3600']);
    isEnded = true;
    expect((await send(`${url}/me`, { token })).status).to.equal(429);
  });
});

describe("revocation.isRevoked", () => {
  const wrong: Readonly<Record<string, () => unknown>> = {
    throws: () => {
      throw new Error("down");
    },
    rejects: () => Promise.reject(new Error("down")),
    "never answers": () => new Promise(() => undefined),
    "answers nothing": () => undefined,
    "answers 0": () => 0,
  };
  for (const [name, isRevoked] of Object.entries(wrong)) {
    it(`that ${name} is an outage: 503, or what onStoreError says, and one line in the log`, async () => {
      const said: unknown[] = [];
      const logger = { debug: () => undefined, warn: (...all: unknown[]) => void said.push(all) };
      const open = (onStoreError: "allow" | "deny") =>
        openGate({
          ...{ auth: testAuth, logger, deadline: 20 },
          revocation: { isRevoked: isRevoked as never, onStoreError },
        });
      const closed = open("deny");
      for (let round = 0; round < 3; round += 1)
        expect((await refuse(closed, await signToken())).problem.code).to.equal("store_unavailable");
      expect(said).to.have.length(1);
      await admit(open("allow"), await signToken());
    });
  }

  it("that fails for some tokens and not for others does not fill the log", async () => {
    const said: unknown[] = [];
    const logger = { debug: () => undefined, warn: (...all: unknown[]) => void said.push(all) };
    const isRevoked = ({ subject }: Auth): boolean => {
      if (subject === "bob") throw new Error("down");
      return false;
    };
    const gate = openGate({ auth: testAuth, logger, revocation: { isRevoked } });
    for (let round = 0; round < 5; round += 1) {
      await admit(gate, await signToken());
      await refuse(gate, await signToken({ sub: "bob" }));
    }
    expect(said).to.have.length(1);
  });

  it("that fails after it let a user in again is an outage, not a refusal", async () => {
    let answer: () => boolean = () => true;
    const gate = openGate({ auth: testAuth, revocation: { isRevoked: () => answer() } });
    const token = await signToken();
    const down = (): never => {
      throw new Error("down");
    };
    expect((await refuse(gate, token)).problem.code).to.equal("token_invalid");
    answer = down;
    expect((await refuse(gate, token)).problem.code).to.equal("token_invalid"); // its last answer
    answer = () => false;
    await admit(gate, token);
    answer = down;
    expect((await refuse(gate, token)).problem.code).to.equal("store_unavailable");
  });

  it("is asked also while Redis has never been reached", async () => {
    const isRevoked = ({ subject }: Auth): boolean => subject === "bob";
    for (const onStoreError of ["allow", "deny"] as const) {
      const gate = openGate({ redis: "redis://127.0.0.1:1", auth: testAuth, revocation: { isRevoked, onStoreError } });
      const { problem } = await refuse(gate, await signToken({ sub: "bob" }));
      expect(problem.code).to.equal("token_invalid");
      const other = await gate.verify(await signToken());
      expect(other.allowed).to.equal(onStoreError === "allow");
    }
  });

  it("is a function, and needs revocation", () => {
    expect(() => openGate({ auth: testAuth, revocation: { isRevoked: true as never } })).to.throw(
      /revocation\.isRevoked must be a function/,
    );
  });

  it("is asked by verify() too", async () => {
    const gate = openGate({ auth: testAuth, revocation: { isRevoked: ({ jti }) => jti === "ended" } });
    expect((await gate.verify(await signToken({ jti: "ended" }))).allowed).to.equal(false);
    expect((await gate.verify(await signToken())).allowed).to.equal(true);
  });
});
