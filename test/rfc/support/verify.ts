import { compactVerify, errors } from "jose";
import type { Auth } from "../../../packages/core/src/index.js";
import { IssuerVerifier, Verifier } from "../../../packages/core/src/auth/verifier.js";
import type { CandidateKey, KeySource } from "../../../packages/core/src/auth/keys/key-source.js";
import { openIssuers } from "../../../packages/core/src/auth/issuers.js";
import { resolveAuth } from "../../../packages/core/src/auth/options.js";
import type { AuthOptions } from "../../../packages/core/src/auth/options.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { silentLogger } from "../../support/logger.js";

/** How a gate with these options would judge tokens at that time: the facts, or why not. */
export function verifierAt(unixSeconds: number, options: AuthOptions): (token: string) => Promise<Auth | string> {
  const now = (): number => unixSeconds * 1000;
  const resolved = resolveAuth(options, { revocation: true, publicUrl: undefined, keySecret: undefined });
  const { issuers, byIssuer, scope } = openIssuers(resolved, { logger: silentLogger, telemetry: new Telemetry() });
  const verifier = new Verifier({
    issuers: issuers.map((issuer) => new IssuerVerifier(issuer, scope, now)),
    byIssuer,
    cacheSize: 10,
    prepare: () => ({ partition: "", question: undefined, lasts: true }),
  });
  return async function verify(token) {
    const result = await verifier.verify(token);
    return "code" in result ? result.cause : result.auth;
  };
}

/** The payload of a JWS that one of our keys signed, whatever it is; undefined if none did. */
export async function payloadSignedBy(keys: KeySource, jws: string): Promise<string | undefined> {
  for (const { key, algorithms } of await candidatesFor(keys, jws)) {
    try {
      const { payload } = await compactVerify(jws, key, { algorithms: [...algorithms] });
      return Buffer.from(payload).toString("utf8");
    } catch {
      continue;
    }
  }
  return undefined;
}

async function candidatesFor(keys: KeySource, jws: string): Promise<readonly CandidateKey[]> {
  const header = JSON.parse(Buffer.from(jws.split(".")[0] ?? "", "base64url").toString()) as { alg: string };
  try {
    return await keys.candidates(header);
  } catch (error) {
    // A key set throws for algorithms that no set can hold; a verifier does not ask it for those.
    if (error instanceof errors.JOSENotSupported) return [];
    throw error;
  }
}

/** RFCs wrap what is longer than a line. */
export function unwrap(...lines: readonly string[]): string {
  return lines.join("");
}
