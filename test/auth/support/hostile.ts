import { hostileClaims } from "./hostile-claims.js";
import { hostileEmbedded } from "./hostile-embedded.js";
import { hostileHeaders } from "./hostile-headers.js";
import { hostileKeys } from "./hostile-keys.js";
import { hostileSignatures } from "./hostile-signatures.js";

/** What the gate that must refuse the token verifies with. */
export type GateName = "secret" | "rsa" | "ec" | "ed" | "jwks";

export interface HostileToken {
  readonly name: string;
  readonly gate: GateName;
  /** `trap` is the address of a server of the attacker. */
  readonly make: (trap: string) => string;
}

/** Tokens that must be refused, by what is wrong with them. */
export const hostileTokens: Readonly<Record<string, readonly HostileToken[]>> = {
  ...hostileHeaders,
  ...hostileEmbedded,
  ...hostileKeys,
  ...hostileSignatures,
  ...hostileClaims,
};
