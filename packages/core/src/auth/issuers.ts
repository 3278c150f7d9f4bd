import type { IssuerVerifierOptions } from "./verifier.js";
import type { IssuerKeys, KeyContext } from "./keys/options.js";
import type { ResolvedAuth } from "./options.js";

/** The options of `auth` with open keys. */
export interface OpenedAuth<Raw> extends Omit<ResolvedAuth<Raw>, "issuers"> {
  readonly issuers: readonly IssuerVerifierOptions[];
  readonly keys: AuthKeys;
}

/** The keys of all issuers of a gate. */
export interface AuthKeys {
  /** `down` while no issuer has keys, `degraded` while one has none. */
  status(): "up" | "degraded" | "down";
  close(): void;
}

/** Opens the keys of all issuers. Remote keys are fetched from now on, until they are closed. */
export function openIssuers<Raw>(auth: ResolvedAuth<Raw>, context: KeyContext): OpenedAuth<Raw> {
  const opened = auth.issuers.map((issuer) => ({ issuer, keys: issuer.keys.open(context) }));
  return {
    ...auth,
    issuers: opened.map(({ issuer, keys }) => ({
      ...issuer,
      algorithms: issuer.keys.algorithms,
      keysOf: (name) => keys.of(name),
      knownKeysOf: (name) => (keys.known === undefined ? keys.of(name) : keys.known(name)),
    })),
    keys: together(opened.map(({ keys }) => keys)),
  };
}

function together(all: readonly IssuerKeys[]): AuthKeys {
  return {
    status() {
      const down = all.filter((keys) => keys.status() === "down").length;
      return down === 0 ? "up" : down === all.length ? "down" : "degraded";
    },
    close() {
      for (const keys of all) keys.close();
    },
  };
}
