import { STATUS_CODES } from "node:http";
import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { DenialCode } from "../../packages/core/src/index.js";
import { DenialError } from "../../packages/core/src/index.js";
import { createProblemTypes } from "../../packages/core/src/http/problem-types.js";
import { deny } from "../../packages/core/src/http/verdict.js";
import { allAdapters } from "../support/app.js";
import { cleanUpInTest } from "../support/clean-up.js";
import { fakeExchange, openGate } from "../support/fake-gate.js";
import { send } from "../support/http.js";
import { expectOptionError } from "../support/option-error.js";
import { rejectionOf } from "../support/rejection.js";

const base = "https://api.example.com/problems/";
const tokens = {
  signingKey: "s".repeat(48),
  issuer: "https://id.example.com",
  audience: "orders-api",
  maxSessions: 1,
  onLimit: "refuse",
} as const;

describe("a problem", () => {
  it("whose type IANA has registered keeps this type, with option problemTypes too", () => {
    for (const types of [createProblemTypes(undefined), createProblemTypes(base)]) {
      const { problem, body } = types(deny("quota_exceeded", { cause: "a test", violatedPolicies: ["ip"] }));
      expect(problem).to.deep.equal({
        type: "https://iana.org/assignments/http-problem-types#quota-exceeded",
        title: "Request cannot be satisfied as assigned quota has been exceeded",
        status: 429,
        code: "quota_exceeded",
        "violated-policies": ["ip"],
      });
      expect(JSON.parse(body)).to.deep.equal(problem);
    }
  });

  it("of no registered type is about:blank, with the phrase of its status as title, and says the rest in detail", () => {
    const { problem } = deny("blocked", { cause: "a test" });
    expect(problem).to.deep.equal({
      type: "about:blank",
      title: "Forbidden",
      status: 403,
      detail: "Requests from this address are not accepted",
      code: "blocked",
    });
    for (const code of ["credentials_required", "content_too_large", "idempotency_mismatch"] satisfies DenialCode[]) {
      const { title, status } = deny(code, { cause: "a test" }).problem;
      expect(title).to.equal(STATUS_CODES[status]);
    }
  });

  it("of no registered type gets the address of option problemTypes with its code, and its sentence as title", () => {
    const denied = createProblemTypes(base)(deny("token_invalid", { cause: "a test", headers: [["X-A", "1"]] }));
    expect(denied.problem).to.deep.equal({
      type: `${base}token_invalid`,
      title: "The access token is not valid",
      status: 401,
      code: "token_invalid",
    });
    expect(denied.body).to.equal(JSON.stringify(denied.problem));
    expect(denied.headers).to.deep.equal([
      ["X-A", "1"],
      ["Content-Type", "application/problem+json"],
      ["Content-Length", String(denied.body.length)],
      ["Cache-Control", "no-store"],
    ]);
    expect(createProblemTypes("urn:other:")(denied), "a type of another gate").to.equal(denied);
  });

  it("keeps members of its refusal that are made when they are read", () => {
    const denied = Object.defineProperty({ ...deny("token_invalid", { cause: "a test" }) }, "later", { get: () => 7 });
    expect(createProblemTypes(base)(denied)).to.have.property("later", 7);
  });

  it("says the same sentence as an error, whatever its type", () => {
    const denied = deny("token_invalid", { cause: "a test" });
    for (const types of [createProblemTypes(undefined), createProblemTypes(base)])
      expect(new DenialError(types(denied)).message).to.equal("The access token is not valid");
  });
});

describe("option problemTypes", () => {
  it("holds for every refusal of a gate: of middleware, of verify(), and of calls that reject", async () => {
    const gate = openGate({ tokens, problemTypes: `${base}#`, connections: { maxPerUser: 1 } });
    const types = (code: DenialCode): string => `${base}#${code}`;
    const missing = await gate.guard().check(fakeExchange());
    expect(!missing.allowed && missing.problem.type).to.equal(types("credentials_required"));
    const wrong = await gate.verify("wrong");
    expect(!wrong.allowed && wrong.problem.type).to.equal(types("token_invalid"));

    const { accessToken } = await gate.tokens.issue({ subject: "alice" });
    const full = await rejectionOf(gate.tokens.issue({ subject: "alice" }));
    expect(full).to.be.instanceOf(DenialError);
    expect((full as DenialError).problem.type).to.equal(types("session_limit"));
    expect(gate.tokens.answer(full)?.body).to.have.property("type", types("session_limit"));

    const verified = await gate.verify(accessToken);
    if (!verified.allowed) throw new Error("refused");
    gate.connections.watch(verified.auth, () => undefined);
    expect(() => gate.connections.watch(verified.auth, () => undefined))
      .to.throw(DenialError)
      .with.nested.property("problem.type", types("connection_limit"));
  });

  it("is an absolute URI after which a code can stand", () => {
    for (const wrong of ["", "/problems/", "https://api.example.com/problems", "https://api.example.com/a b/", 7])
      expectOptionError(() => openGate({ problemTypes: wrong as string }), "problemTypes", /must be/);
    for (const right of [base, "https://api.example.com/docs#", "urn:example:problem:", "tag:example.com,2026:"])
      openGate({ problemTypes: right });
  });
});

describe("option problemTypes over HTTP", () => {
  for (const adapter of allAdapters)
    it(`is the start of the type in the body, on ${adapter.name}`, async () => {
      const options = { redis: "memory", auth: testAuth, problemTypes: base } as const;
      const app = await adapter.start({ options, routes: {} });
      cleanUpInTest(() => app.close());
      const { status, json } = await send(`${app.url}/`);
      expect(status).to.equal(401);
      expect(json).to.deep.equal({
        type: `${base}credentials_required`,
        title: "Credentials are required",
        status: 401,
        code: "credentials_required",
      });
    });
});
