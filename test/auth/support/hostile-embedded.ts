import type { KeyObject } from "node:crypto";
import type { GateName, HostileToken } from "./hostile.js";
import type { Signer } from "./mint.js";
import { attackerEc, attackerEd, attackerRsa, claimsWith, eddsa, es256, forge, hmac, rs256 } from "./mint.js";

/** Whom the attacker signs as, and the key that fits it. */
interface Attacker {
  readonly alg: string;
  readonly jwk: object;
  readonly certificate: string;
  readonly signer: Signer;
}

const attackerSecret = "attacker-secret-".repeat(4);

const attackers: Readonly<Record<GateName, Attacker>> = {
  secret: {
    alg: "HS256",
    jwk: { kty: "oct", alg: "HS256", k: Buffer.from(attackerSecret).toString("base64url") },
    certificate: Buffer.from(attackerSecret).toString("base64"),
    signer: hmac("sha256", attackerSecret),
  },
  rsa: { alg: "RS256", ...parts(attackerRsa.publicKey), signer: rs256(attackerRsa) },
  ec: { alg: "ES256", ...parts(attackerEc.publicKey), signer: es256(attackerEc) },
  ed: { alg: "EdDSA", ...parts(attackerEd.publicKey), signer: eddsa(attackerEd) },
  jwks: { alg: "RS256", ...parts(attackerRsa.publicKey), signer: rs256(attackerRsa) },
};

function parts(key: KeyObject): { jwk: object; certificate: string } {
  return {
    jwk: key.export({ format: "jwk" }),
    certificate: key.export({ format: "der", type: "spki" }).toString("base64"),
  };
}

/** The key that came with the token: whoever sends a token could send a key that fits it. */
function rows(gate: GateName, { alg, jwk, certificate, signer }: Attacker): readonly HostileToken[] {
  function row(name: string, more: (trap: string) => Record<string, unknown>): HostileToken {
    return {
      name: `${name} for the ${gate} gate`,
      gate,
      make: (trap) => forge({ alg, ...more(trap) }, claimsWith(), signer),
    };
  }

  return [
    row("the attacker's key as jwk", () => ({ jwk })),
    row("the attacker's key as jwk under a known kid", () => ({ jwk: { ...jwk, kid: "rsa-1" }, kid: "rsa-1" })),
    row("the attacker's key as the text of a jwk", () => ({ jwk: JSON.stringify(jwk) })),
    row("the attacker's key set as jku", (trap) => ({ jku: `${trap}/jwks`, kid: "attacker" })),
    row("the attacker's key set as jku that begins like ours", (trap) => ({
      jku: `https://issuer.test@${trap.slice(7)}`,
    })),
    row("a file as jku", () => ({ jku: "file:///dev/null" })),
    row("the attacker's certificate as x5u", (trap) => ({ x5u: `${trap}/cert.pem` })),
    row("the attacker's key as x5c", () => ({ x5c: [certificate] })),
    row("the attacker's key as x5c, with thumbprints", () => ({ x5c: [certificate], x5t: "AA", "x5t#S256": "AA" })),
    row("an address as kid", (trap) => ({ kid: `${trap}/jwks` })),
    row("the attacker's key as kid", () => ({ kid: jwk })),
    row("a key set inside jwk", () => ({ jwk: { keys: [jwk] } })),
    row("jku and jwk together", (trap) => ({ jku: `${trap}/jwks`, jwk })),
    row("the attacker as another issuer in the header", (trap) => ({ iss: trap, jku: `${trap}/jwks` })),
  ];
}

export const hostileEmbedded: Readonly<Record<string, readonly HostileToken[]>> = {
  "a key that came with the token": Object.entries(attackers).flatMap(([gate, attacker]) =>
    rows(gate as GateName, attacker),
  ),
};
