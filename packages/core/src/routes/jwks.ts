import type { Check } from "../request/state.js";
import type { ResolvedTokens } from "../sessions/options.js";
import { checkObject, optionError } from "../lib/validate.js";
import { answerAt, checkPath, readMethods, reply } from "./endpoint.js";

/** Options of `routes.jwks()`. */
export interface JwksRouteOptions {
  /** Path of the key set. @default "/.well-known/jwks.json" */
  readonly path?: string | undefined;
}

/** Verifiers fetch again for an unknown `kid`. A retired key must stay in the set while its tokens live. */
const maxAgeSeconds = 300;

/** The public keys that verify the gate's own tokens (RFC 7517). */
export function jwksRoute<Raw>(options: JwksRouteOptions, tokens: ResolvedTokens | undefined): Check<Raw> {
  checkObject("jwks()", options, ["path"]);
  const { path = "/.well-known/jwks.json" } = options;
  checkPath("jwks().path", path);
  if (tokens === undefined) throw optionError("tokens", "is required for routes.jwks()");
  const { published } = tokens.keys;
  if (published === undefined)
    throw optionError(
      "tokens.signingKey",
      "is an HMAC secret, which is never published; routes.jwks() needs a private key",
    );
  const answer = reply(200, "application/jwk-set+json", JSON.stringify(published), [
    ["Cache-Control", `public, max-age=${maxAgeSeconds}`],
  ]);
  return answerAt({ methods: readMethods, path, answer: () => answer });
}
