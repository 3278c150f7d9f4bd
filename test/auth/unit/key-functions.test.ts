import { setTimeout as pause } from "node:timers/promises";
import { randomBytes } from "node:crypto";
import { expect } from "chai";
import type { KeyFunction } from "../../../packages/core/src/index.js";
import { FunctionKeys } from "../../../packages/core/src/auth/keys/key-function.js";
import { createSecretKeys } from "../../../packages/core/src/auth/keys/secret-keys.js";
import { KeysUnavailable } from "../../../packages/core/src/auth/keys/key-source.js";
import { rejectionOf } from "../../support/rejection.js";
import type { FakeOptions } from "../../support/fake-gate.js";
import { admit, openGate, refuse } from "../../support/fake-gate.js";
import { silentLogger } from "../../support/logger.js";
import { claimsWith, ec, es256, forge, hmac, rs256, rsa } from "../support/mint.js";

const secrets = new Map([
  ["https://a.test", randomBytes(48)],
  ["https://b.test", randomBytes(48)],
]);
const secretOf = (issuer: string): Buffer => secrets.get(issuer) ?? Buffer.alloc(48);

function tokenOf(iss: unknown, { kid, by = iss }: { kid?: unknown; by?: unknown } = {}): string {
  return forge({ alg: "HS256", kid }, claimsWith({ iss }), hmac("sha256", secretOf(String(by))));
}

type AuthOptions = NonNullable<FakeOptions["auth"]>;

function authWith(secret: AuthOptions["secret"], issuer: AuthOptions["issuer"] = [...secrets.keys()]): AuthOptions {
  return { secret, issuer, algorithms: ["HS256"], audience: false };
}

async function codeOf(gate: ReturnType<typeof openGate>, token: string): Promise<string> {
  return (await refuse(gate, token)).problem.code;
}

describe("secret as a function", () => {
  it("gets the header and the issuer of a token, and gives its key alone", async () => {
    const asked: unknown[] = [];
    const find: KeyFunction<Uint8Array> = async (header, issuer) => {
      asked.push([{ ...header }, issuer, Object.isFrozen(header)]);
      await pause(1);
      return secrets.get(issuer);
    };
    const gate = openGate({ auth: authWith(find) });
    expect((await admit(gate, tokenOf("https://a.test", { kid: "1" }))).issuer).to.equal("https://a.test");
    expect((await admit(gate, tokenOf("https://b.test"))).issuer).to.equal("https://b.test");
    expect(asked).to.deep.equal([
      [{ alg: "HS256", kid: "1" }, "https://a.test", true],
      [{ alg: "HS256" }, "https://b.test", true],
    ]);
    // A secret of one tenant signs for no other.
    expect(await codeOf(gate, tokenOf("https://a.test", { by: "https://b.test" }))).to.equal("token_invalid");
  });

  it("is not asked for issuers that the gate does not accept, nor for tokens without an issuer", async () => {
    let calls = 0;
    const find = (): undefined => void (calls += 1);
    const gate = openGate({ auth: authWith(find, (iss) => iss === "https://a.test") });
    for (const iss of ["https://c.test", "", undefined, 5, null])
      expect(await codeOf(gate, tokenOf(iss)), String(iss)).to.equal("token_invalid");
    const rs = forge({ alg: "none" }, claimsWith({ iss: "https://a.test" }), () => "AAAA");
    expect(await codeOf(gate, rs)).to.equal("token_invalid");
    expect(calls).to.equal(0);
  });

  it("needs issuer and algorithms", () => {
    const find = (): undefined => undefined;
    const open = (auth: object): (() => unknown) => {
      return () => openGate({ auth: auth as AuthOptions });
    };
    expect(open({ secret: find, algorithms: ["HS256"], audience: false })).to.throw(
      /auth\.secret .* needs the option issuer/,
    );
    expect(open({ secret: find, issuer: "https://a.test", audience: false })).to.throw(/auth\.algorithms is required/);
    expect(open({ ...authWith(find), algorithms: ["RS256"] })).to.throw(/has "RS256", which a secret cannot verify/);
    expect(open({ ...authWith(undefined), publicKey: find })).to.throw(/has "HS256"/);
    expect(open({ ...authWith(find), publicKey: find })).to.throw(/give one of them/);
  });

  it("that finds no key is 401, and is asked once for it in half a minute", async () => {
    for (const nothing of [undefined, null, []] as const) {
      let calls = 0;
      const gate = openGate({ auth: authWith(() => ((calls += 1), nothing)) });
      for (let round = 0; round < 5; round += 1)
        expect(await codeOf(gate, tokenOf("https://a.test"))).to.equal("token_invalid");
      expect(calls).to.equal(1);
    }
  });

  it("that fails is 503, says so once in the log, and is asked again", async () => {
    const secret = "short and never in a log".slice(0, 20);
    const wrong: readonly KeyFunction<never>[] = [
      () => {
        throw new Error("database down");
      },
      () => Promise.reject(new Error("database down")),
      () => 5 as never,
      () => secret as never,
      () => [Buffer.alloc(48), "" as never] as never,
    ];
    for (const find of wrong) {
      const said: unknown[] = [];
      const logger = { debug: () => undefined, warn: (...all: unknown[]) => void said.push(all) };
      let isDown = true;
      const gate = openGate({
        logger,
        auth: authWith((...all) => (isDown ? find(...all) : secretOf("https://a.test"))),
      });
      for (let round = 0; round < 3; round += 1)
        expect(await codeOf(gate, tokenOf("https://a.test"))).to.equal("keys_unavailable");
      expect(said).to.have.length(1);
      expect(JSON.stringify(said)).to.include("the function auth.secret failed").and.not.include(secret);
      isDown = false;
      await admit(gate, tokenOf("https://a.test"));
    }
  });

  it("keeps no answer for a forged token that another token of the issuer would get", async () => {
    const hidden = (header: Readonly<Record<string, unknown>>): boolean =>
      header.alg === "HS384" || header.x5t === "wrong" || header["x5t#S256"] === "wrong";
    const gate = openGate({
      auth: {
        ...authWith((header, issuer) => (hidden(header) ? undefined : secretOf(issuer))),
        algorithms: ["HS256", "HS384"],
      },
    });
    const forged = [{ alg: "HS384" }, { alg: "HS256", x5t: "wrong" }, { alg: "HS256", "x5t#S256": "wrong" }];
    for (const header of forged)
      expect(
        await codeOf(
          gate,
          forge({ ...header, kid: "k" }, claimsWith({ iss: "https://a.test" }), () => "AAAA"),
        ),
      ).to.equal("token_invalid");
    await admit(gate, tokenOf("https://a.test", { kid: "k" }));
  });

  it("is not asked again for a key because others invented keys that do not exist", async () => {
    const asked: unknown[] = [];
    const gate = openGate({
      auth: authWith(({ kid }, issuer) => (asked.push(kid), kid === "good" ? secretOf(issuer) : undefined)),
    });
    await admit(gate, tokenOf("https://a.test", { kid: "good" }));
    for (let count = 0; count < 1100; count += 1)
      await gate.verify(tokenOf("https://a.test", { kid: `invented-${count}` }));
    const header = { alg: "HS256", kid: "good", typ: "JWT" };
    const other = forge(header, claimsWith({ iss: "https://a.test" }), hmac("sha256", secretOf("https://a.test")));
    await admit(gate, other);
    expect(asked.filter((kid) => kid === "good")).to.have.length(1);
  });

  it("that returns a key that cannot verify says in the message what is wrong with it", async () => {
    const said: string[] = [];
    const logger = { debug: () => undefined, warn: (_fields: object, message: string) => void said.push(message) };
    const gate = openGate({ logger, auth: authWith(() => "0123456789abcdef") });
    expect(await codeOf(gate, tokenOf("https://a.test"))).to.equal("keys_unavailable");
    expect(said.join())
      .to.match(/auth\.secret must be at least 32 bytes for HS256, not 16/)
      .and.not.include("0123");
  });

  it("that fails for one tenant and not for another does not fill the log", async () => {
    const said: unknown[] = [];
    const logger = { debug: () => undefined, warn: (...all: unknown[]) => void said.push(all) };
    const gate = openGate({
      logger,
      auth: authWith((_header, issuer) => {
        if (issuer === "https://b.test") throw new Error("database down");
        return secretOf(issuer);
      }),
    });
    for (let round = 0; round < 5; round += 1) {
      await admit(gate, tokenOf("https://a.test", { kid: `${round}` }));
      expect(await codeOf(gate, tokenOf("https://b.test"))).to.equal("keys_unavailable");
    }
    expect(said).to.have.length(1);
  });

  it("is asked once for many tokens of one kid, also at the same time", async () => {
    let calls = 0;
    const gate = openGate({
      auth: authWith(async (_header, issuer) => {
        calls += 1;
        await pause(5);
        return [Buffer.alloc(48, 1), secretOf(issuer)];
      }),
    });
    await Promise.all(Array.from({ length: 50 }, () => admit(gate, tokenOf("https://a.test", { kid: "k" }))));
    await admit(gate, tokenOf("https://a.test", { kid: "k" }));
    expect(calls).to.equal(1);
    await admit(gate, tokenOf("https://a.test", { kid: "l" }));
    expect(calls).to.equal(2);
  });

  it("is not asked for a kid that is no text, or an endless one", async () => {
    let calls = 0;
    const gate = openGate({ auth: authWith(() => ((calls += 1), secretOf("https://a.test"))) });
    for (const kid of [5, {}, [], null, "x".repeat(2000)])
      expect(await codeOf(gate, tokenOf("https://a.test", { kid }))).to.equal("token_invalid");
    expect(calls).to.equal(0);
  });

  it("is asked again after ten minutes, when tokens that were verified by its key are verified again", async () => {
    let now = 0;
    let calls = 0;
    const keys = new FunctionKeys<Uint8Array>({
      option: "auth.secret",
      find: () => ((calls += 1), Buffer.alloc(48)),
      open: (given) => createSecretKeys("auth.secret", given, ["HS256"]),
      logger: silentLogger,
      now: () => now,
    });
    const source = keys.of("a");
    const ask = async (kid: string): Promise<number> => (await source.candidates({ alg: "HS256", kid })).length;
    const { version } = source;
    expect(await ask("1")).to.equal(1);
    now = 599_000;
    expect([await ask("1"), await ask("2"), calls, source.version]).to.deep.equal([1, 1, 2, version]);
    now = 600_001;
    expect(source.version).to.equal(version + 1);
    expect([await ask("1"), await ask("2"), calls]).to.deep.equal([1, 1, 4]);
  });

  it("keeps a bounded number of keys, whatever kids are sent", async () => {
    let calls = 0;
    const keys = new FunctionKeys<Uint8Array>({
      option: "auth.secret",
      find: () => void (calls += 1),
      open: () => expect.fail("there is no key"),
      logger: silentLogger,
    });
    for (let round = 0; round < 1100; round += 1) await keys.of("a").candidates({ alg: "HS256", kid: `${round}` });
    expect(calls).to.equal(1100);
    await keys.of("a").candidates({ alg: "HS256", kid: "1099" });
    expect(calls).to.equal(1100);
    await keys.of("a").candidates({ alg: "HS256", kid: "0" });
    expect(calls).to.equal(1101);
  });

  it("that never answers is an outage", async () => {
    const keys = new FunctionKeys<Uint8Array>({
      option: "auth.secret",
      find: () => new Promise(() => undefined),
      open: () => expect.fail("there is no key"),
      logger: silentLogger,
      timeoutMs: 20,
    });
    // The timer of the timeout does not keep the process alive.
    const alive = setInterval(() => undefined, 1000);
    const rejection = await rejectionOf(Promise.resolve(keys.of("a").candidates({ alg: "HS256" })));
    clearInterval(alive);
    expect(rejection).to.be.instanceOf(KeysUnavailable);
  });
});

describe("publicKey as a function", () => {
  it("gives a PEM, a JWK or a list for each issuer, with the algorithms that fit", async () => {
    const pem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
    const jwk = ec.publicKey.export({ format: "jwk" }) as never;
    const publicKey: KeyFunction<string> = ({ kid }, issuer) =>
      kid === "none" ? undefined : issuer === "https://a.test" ? pem : [jwk, pem];
    const auth = { publicKey, issuer: [...secrets.keys()], algorithms: ["RS256", "ES256"], audience: false } as const;
    const gate = openGate({ auth });
    const rsaToken = (iss: string, kid?: string): string =>
      forge({ alg: "RS256", kid }, claimsWith({ iss }), rs256(rsa));
    const ecToken = (iss: string): string => forge({ alg: "ES256" }, claimsWith({ iss }), es256(ec));
    await admit(gate, rsaToken("https://a.test"));
    await admit(gate, rsaToken("https://b.test"));
    await admit(gate, ecToken("https://b.test"));
    expect(await codeOf(gate, ecToken("https://a.test"))).to.equal("token_invalid");
    expect(await codeOf(gate, rsaToken("https://a.test", "none"))).to.equal("token_invalid");
  });

  it("that gives a private key is an outage, not a key", async () => {
    const publicKey = (): string => rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const gate = openGate({ auth: { publicKey, issuer: "https://a.test", algorithms: ["RS256"], audience: false } });
    const token = forge({ alg: "RS256" }, claimsWith({ iss: "https://a.test" }), rs256(rsa));
    expect(await codeOf(gate, token)).to.equal("keys_unavailable");
  });
});
