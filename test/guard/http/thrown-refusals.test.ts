import { expect } from "chai";
import { signToken } from "@portcullis/testkit";
import type { Quota } from "@portcullis/core";
import { DenialError } from "@portcullis/core";
import type { AnyGate, AnyMiddleware } from "../../support/app.js";
import { describeOnEveryFramework } from "../../support/every-gate.js";
import { send } from "../../support/http.js";

type Part = (...args: unknown[]) => unknown;

/** A middleware with an error handler of the application around it, which answers 499 with what it sees. */
function caught(part: AnyMiddleware): AnyMiddleware {
  return async (first: { quotas?: readonly Quota[]; auth?: unknown }, ...rest: unknown[]) => {
    const next = rest.at(-1) as () => unknown;
    const error: unknown = await new Promise((resolve, reject) => {
      const goOn = (thrown?: unknown): void => resolve(thrown);
      Promise.resolve((part as unknown as Part)(first, ...rest.slice(0, -1), goOn)).catch(reject);
    }).catch((thrown: unknown) => thrown);
    if (error === undefined) return next();
    const { code, cause, quotas } = error as DenialError;
    const isDenial = error instanceof DenialError;
    const seen = { isDenial, code, cause, quotas, shown: first.quotas, keys: Object.keys(error as object) };
    if (rest.length === 1) Object.assign(first, { status: 499, body: seen });
    else (rest[0] as { status(code: number): { json(value: unknown): void } }).status(499).json(seen);
  };
}

interface Seen {
  readonly isDenial: boolean;
  readonly code: string;
  readonly cause: string;
  readonly quotas: readonly Quota[];
  readonly shown?: readonly Quota[];
  readonly keys: readonly string[];
}

describeOnEveryFramework("an error handler of the application", (start) => {
  const limits = [
    { name: "ip", per: "ip", limit: 100, window: "1m" },
    { name: "user", per: "user", limit: 1, window: "1h" },
  ] as const;
  const throwing = (gate: AnyGate): AnyMiddleware[] => [caught(gate.guard({ onDeny: "throw" }))];

  it("gets the quotas of a request that a limit refuses, in the error and on the request", async () => {
    const app = await start({ limits }, { use: throwing });
    const token = await signToken();
    expect((await send(`${app.url}/me`, { token })).status).to.equal(200);
    const { status, json } = await send(`${app.url}/me`, { token });
    const { isDenial, code, cause, quotas, shown } = json as Seen;
    expect([status, isDenial, code]).to.deep.equal([499, true, "quota_exceeded"]);
    expect(cause).to.match(/^a rate limit is exhausted: policy user, limit 1 in 3600 s, of user ~\S+, retry in \d+ s$/);
    const states = quotas.map(({ policy, limit, remaining, exceeded }) => [policy, limit, remaining, exceeded]);
    expect(states.at(-1)).to.deep.equal(["user", 1, 0, true]);
    expect(states.map(([policy]) => policy)).to.deep.equal(["ip", "user"]);
    expect(quotas.at(-1)?.resetSeconds).to.be.within(3590, 3600);
    expect(shown).to.deep.equal(quotas);
  });

  it("gets them after middleware of the gate that counted before, with those of that middleware", async () => {
    const own = { name: "own", per: "user", limit: 0, window: "1m" } as const;
    const use = (gate: AnyGate): AnyMiddleware[] => [gate.guard(), caught(gate.limit(own, { onDeny: "throw" }))];
    const { url } = await start({ limits }, { use });
    const { json } = await send(`${url}/me`, { token: await signToken() });
    const { quotas, shown } = json as Seen;
    expect(quotas.map(({ policy }) => policy)).to.deep.equal(["own"]);
    expect(shown?.map(({ policy }) => policy)).to.deep.equal(["ip", "user", "own"]);
  });

  it("gets the cause of every refusal, which no serialisation of the error shows", async () => {
    const { url } = await start({ limits }, { use: throwing });
    const { json } = await send(`${url}/me`, { token: await signToken({ exp: 1 }) });
    const { code, cause, quotas, shown, keys } = json as Seen;
    expect([code, quotas]).to.deep.equal(["token_invalid", []]);
    expect(cause).to.match(/^ERR_JWT_EXPIRED: claim exp, expected a time in the future, found \d+ s ago$/);
    expect(shown).to.equal(undefined);
    expect(keys).not.to.include("cause");
  });
});
