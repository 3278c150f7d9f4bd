import { expect } from "chai";
import { signToken, testAuth } from "@portcullis/testkit";
import { deny } from "../../packages/core/src/http/verdict.js";
import { DevelopmentLog } from "../../packages/core/src/telemetry/development-log.js";
import { cleanUp } from "../support/clean-up.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../support/fake-gate.js";

/** The lines that a gate prints, with DEBUG as given. */
async function linesOf(
  debug: string | undefined,
  options: FakeOptions,
  use: (gate: FakeGate) => unknown,
): Promise<string[]> {
  const lines: string[] = [];
  const { DEBUG: before } = process.env;
  const print = Reflect.get<Console, "error">(console, "error");
  const restore = (): void => {
    if (before === undefined) delete process.env.DEBUG;
    else process.env.DEBUG = before;
    console.error = print;
  };
  cleanUp(restore);
  if (debug === undefined) delete process.env.DEBUG;
  else process.env.DEBUG = debug;
  console.error = (line: string) => void lines.push(line);
  const gate = openGate({ auth: testAuth, ...options });
  await use(gate);
  await gate.close();
  restore();
  return lines;
}

describe("the lines for developers", () => {
  const request = { url: "/orders?secret=seeded-query", method: "POST" };

  it("tell each refusal on one line, with the name of a gate that has one, and without the query", async () => {
    const lines = await linesOf("portcullis", { telemetry: { gate: "orders" } }, async (gate) => {
      await gate.guard().check(fakeExchange(request));
      const authorization = `Bearer ${await signToken({ aud: "other" })}`;
      await gate.guard().check(fakeExchange({ ...request, headers: { authorization } }));
      await gate.guard().check(fakeExchange({ headers: { authorization: `Bearer ${await signToken()}` } }));
      await gate.verify("nonsense");
    });
    expect(lines).to.deep.equal([
      "portcullis [orders]: 401 credentials_required POST /orders: no credentials: expected a token in the header Authorization",
      'portcullis [orders]: 401 token_invalid POST /orders: ERR_JWT_CLAIM_VALIDATION_FAILED: claim aud, expected "test-api", found "other"',
      "portcullis [orders]: 401 token_invalid GET /: the credential is not a JWT: expected three parts of base64url, found 8 characters in 1 part",
    ]);
  });

  it("tell the path of any target: no query, no fragment, and no user or password of an absolute URL", async () => {
    const targets = {
      "http://user:seeded-password@api.test/orders?x=seeded-query": "/orders",
      "https://user:seeded-password@api.test": "/",
      "HTTP://seeded-user@api.test?seeded-query": "/",
      "/orders#seeded-fragment": "/orders",
      "*": "*",
    };
    const lines = await linesOf("portcullis", {}, async (gate) => {
      for (const url of Object.keys(targets)) await gate.guard().check(fakeExchange({ url }));
    });
    expect(lines.map((line) => /GET (\S+):/.exec(line)?.[1])).to.deep.equal(Object.values(targets));
    expect(lines.join("\n")).not.to.include("seeded");
  });

  it("come where DEBUG names portcullis or the option says so, and not otherwise", async () => {
    const refuse = (gate: FakeGate): unknown => gate.guard().check(fakeExchange());
    for (const debug of ["portcullis", "express:*,portcullis", "a b portcullis:*", "*", "port*"])
      expect(await linesOf(debug, {}, refuse), debug).to.have.length(1);
    for (const debug of [undefined, "", "express:*", "*,-portcullis", "-*", "portcullis-other", "portc"])
      expect(await linesOf(debug, {}, refuse), debug).to.have.length(0);
    expect(await linesOf(undefined, { telemetry: { debug: true } }, refuse)).to.have.length(1);
    expect(await linesOf("*", { telemetry: { debug: false } }, refuse)).to.have.length(0);
  });

  it("bound the texts of a client, and say of a token in a path that it was one", () => {
    const lines: string[] = [];
    const log = new DevelopmentLog({ write: (line) => lines.push(line) });
    const denied = deny("credentials_required", { cause: "no credentials" });
    log.refused("default", denied, { method: "GET", url: "/confirm/eyJhbGciOiJIUzI1NiJ9.e30.x?query" });
    log.refused("default", denied, { method: "M".repeat(60_000), url: `/${"u".repeat(60_000)}` });
    expect(lines[0]).to.equal("portcullis: 401 credentials_required GET a JWT: no credentials");
    expect(lines[1]).to.have.length.below(300);
    log.close();
  });

  it("are bounded in a flood, and then tell how many were left out", () => {
    const lines: string[] = [];
    let now = 0;
    const log = new DevelopmentLog({ write: (line) => lines.push(line), now: () => now });
    const denied = deny("credentials_required", { cause: "no credentials" });
    const refuse = (times: number): void => {
      for (let count = 0; count < times; count += 1) log.refused("default", denied, { method: "GET", url: "/" });
    };
    refuse(10_000);
    expect(lines).to.have.length(50);
    now += 2500;
    refuse(10);
    expect(lines.slice(50)).to.deep.equal([
      "portcullis: 9950 more refusals were left out",
      ...Array.from({ length: 2 }, () => "portcullis: 401 credentials_required GET /: no credentials"),
    ]);
    log.close();
    expect(lines.slice(53)).to.deep.equal(["portcullis: 8 more refusals were left out"]);
    now += 3_600_000;
    refuse(60);
    expect(lines).to.have.length(54 + 50);
    log.close();
  });
});
