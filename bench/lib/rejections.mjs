import { createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import { FakeExchange, createBareGate, expectDenied } from "./checks.mjs";
import { audience, encode, gateOptions, issuer, signToken } from "./settings.mjs";

const variety = 64;

/** What it costs to say no: every kind of bad token, none of which may be worth sending for the work it makes. */
export async function createRejections() {
  const hmac = createBareGate(gateOptions("memory"));
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const { limits } = gateOptions("memory");
  const rsa = createBareGate({
    redis: "memory",
    limits,
    auth: { publicKey, algorithms: ["RS256"], issuer, audience },
  });
  const revoked = signToken({ jti: "revoked", subject: "mallory" });
  await hmac.revocations.revoke({ jti: "revoked", expiresAt: Math.floor(Date.now() / 1000) + 3600 });
  const valid = signToken({ jti: "valid", subject: "mallory" });
  const [header, payload, signature] = valid.split(".");
  const claims = { iss: issuer, aud: audience, sub: "mallory", exp: Math.floor(Date.now() / 1000) + 3600 };
  const rsaInput = `${encode({ alg: "RS256" })}.${encode(claims)}`;
  const signed = createSign("sha256").update(rsaInput).sign(privateKey);
  const forgedRsa = Array.from({ length: variety }, (_, index) => {
    const bytes = Buffer.from(signed);
    bytes[index + 8] ^= 1;
    return `${rsaInput}.${bytes.toString("base64url")}`;
  });
  const forged = Array.from({ length: variety }, () => `${header}.${payload}.${randomBytes(32).toString("base64url")}`);
  const long = (size) => `${header}.${encode({ ...claims, pad: "x".repeat(size) })}.${signature}`;

  return [
    refuse("no token", hmac, [undefined]),
    refuse("not a token", hmac, ["x".repeat(300)]),
    refuse("another algorithm", hmac, [`${encode({ alg: "none" })}.${payload}.${signature}`]),
    refuse("a forged signature, HS256, 64 tokens again and again", hmac, forged),
    refuse("a forged signature, HS256, never seen before", hmac, () => `${header}.${payload}.${nextSignature()}`),
    refuse("a forged signature of 8 KB, HS256", hmac, [long(5800)]),
    refuse("100 KB", hmac, [long(75_000)]),
    refuse("a forged signature, RS256", rsa, forgedRsa),
    refuse("expired", hmac, [signToken({ jti: "old", subject: "mallory", lifetimeSeconds: -10 })]),
    refuse("revoked", hmac, [revoked]),
  ];
}

let signatures = 0;

/** 32 bytes as base64url, others each time, and cheap to make. */
function nextSignature() {
  signatures += 1;
  return `${signatures.toString(36).padStart(42, "A")}A`;
}

function refuse(what, gate, tokens) {
  const guard = gate.guard();
  const bearers =
    typeof tokens === "function" ? [] : tokens.map((token) => (token === undefined ? undefined : `Bearer ${token}`));
  const bearerOf = typeof tokens === "function" ? () => `Bearer ${tokens()}` : (call) => bearers[call % bearers.length];
  return {
    name: `refused: ${what}`,
    runLater: async (call) => expectDenied(await guard(new FakeExchange("192.0.2.66", bearerOf(call))), 401),
  };
}
