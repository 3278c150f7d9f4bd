import type { Credentials, Scheme } from "../auth/credentials.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { DescribeDenial } from "../http/denial-detail.js";
import { authenticateChallenge } from "../http/fields.js";
import type { Denied, Header } from "../http/verdict.js";
import { deny, unavailable } from "../http/verdict.js";
import type { StoreHealth } from "../store/ports/health.js";
import { clockDiffers } from "../store/ports/health.js";

/** The refusals of a gate that carry its challenge. Every cause of one code has the same answer. */
export interface Challenges {
  /** Adds the URL of the API's metadata to every challenge from now on (RFC 9728 5.1). */
  announce(metadataUrl: string): void;
  credentialsRequired(detail?: DescribeDenial): Denied;
  /** The refusal of any bad token. The client does not learn why it is refused; cause and detail are for logs. */
  tokenInvalid(cause: string, scheme?: Scheme, detail?: DescribeDenial): Denied;
  /** The refusal of credentials without a usable token. */
  badCredentials(credentials: Exclude<Credentials, { kind: "none" | "token" }>): Denied;
  tokenRefused(refusal: TokenRefusal, scheme: Scheme): Denied;
  /** The refusal of a bound token without a valid proof of possession (RFC 9449 7.1). */
  proofInvalid(cause: string, detail?: DescribeDenial): Denied;
  /** The refusal of a proof without a current nonce of this API (RFC 9449 9). */
  nonceRequired(nonce: string): Denied;
  scopeInsufficient(scopes: readonly string[], scheme: Scheme, detail?: DescribeDenial): Denied;
  claimInsufficient(detail?: DescribeDenial): Denied;
  /** The refusal of a sign-in that is too old or too weak, with the requirements for a new one (RFC 9470). */
  authenticationStale(
    maxAgeSeconds: number | undefined,
    acr: readonly string[] | undefined,
    scheme: Scheme,
    detail?: DescribeDenial,
  ): Denied;
}

/** The scheme of an accepted token. The challenge of this scheme carries the error. */
export function schemeOf(verified: VerifiedToken | undefined): Scheme {
  return verified?.boundTo === undefined ? "Bearer" : "DPoP";
}

const description = "The access token is malformed, expired, revoked or not meant for this API";

/** The parameters of a gate's challenges. */
export interface ChallengeOptions {
  readonly realm: string | undefined;
  /** The accepted algorithms of DPoP proofs (RFC 9449 7.1); undefined without `auth.dpop`. */
  readonly dpop?: { readonly required: boolean; readonly algorithms: readonly string[] } | undefined;
}

type Parameters = Readonly<Record<string, string>>;

export function createChallenges({ realm, dpop }: ChallengeOptions): Challenges {
  let metadata: string | undefined;
  const accepted: readonly Scheme[] = dpop === undefined ? ["Bearer"] : dpop.required ? ["DPoP"] : ["Bearer", "DPoP"];
  let { required, invalid, ambiguous } = prepare();

  /** One challenge for each accepted scheme. The challenge of the scheme that was used carries the error. */
  function challenge(parameters: Parameters = {}, used: Scheme = accepted[0] ?? "Bearer"): Header {
    const texts = accepted.map((scheme) =>
      authenticateChallenge(scheme, {
        ...(realm === undefined ? {} : { realm }),
        ...(scheme === used || !accepted.includes(used) ? parameters : {}),
        ...(scheme === "DPoP" && dpop !== undefined ? { algs: dpop.algorithms.join(" ") } : {}),
        ...(metadata === undefined ? {} : { resource_metadata: metadata }),
      }),
    );
    return ["WWW-Authenticate", texts.join(", ")];
  }

  /** Headers that do not depend on the request are made once. */
  function prepare(): Record<"required" | "ambiguous", Header[]> & { invalid: Record<Scheme, Header[]> } {
    const parameters = { error: "invalid_token", error_description: description };
    return {
      required: [challenge()],
      invalid: { Bearer: [challenge(parameters, "Bearer")], DPoP: [challenge(parameters, "DPoP")] },
      ambiguous: [challenge({ error: "invalid_request" })],
    };
  }

  function tokenInvalid(cause: string, scheme: Scheme = "Bearer", detail?: DescribeDenial): Denied {
    return deny("token_invalid", { cause, detail, headers: invalid[scheme] });
  }

  return {
    announce(url) {
      metadata = url;
      ({ required, invalid, ambiguous } = prepare());
    },
    credentialsRequired: (detail) =>
      deny("credentials_required", { cause: "no credentials", detail, headers: required }),
    tokenInvalid,
    badCredentials(credentials) {
      const { kind, cause, detail } = credentials;
      switch (kind) {
        case "malformed":
          return tokenInvalid(cause, credentials.scheme, detail);
        case "too_large":
          return deny("token_too_large", { cause, detail, headers: invalid[credentials.scheme] });
        case "ambiguous":
          return deny("request_invalid", { cause, detail, headers: ambiguous });
        case "foreign_origin":
          return deny("origin_refused", { cause, detail });
      }
    },
    tokenRefused: ({ code, cause, detail }, scheme) =>
      code === "keys_unavailable" ? unavailable(cause, code, detail) : tokenInvalid(cause, scheme, detail),
    proofInvalid: (cause, detail) =>
      deny("dpop_proof_invalid", { cause, detail, headers: [challenge({ error: "invalid_dpop_proof" }, "DPoP")] }),
    nonceRequired: (nonce) =>
      deny("dpop_nonce_required", {
        cause: "the DPoP proof has no current nonce",
        headers: [challenge({ error: "use_dpop_nonce" }, "DPoP"), ["DPoP-Nonce", nonce]],
      }),
    scopeInsufficient(scopes, scheme, detail) {
      const headers = [challenge({ error: "insufficient_scope", scope: scopes.join(" ") }, scheme)];
      return deny("scope_insufficient", { cause: "a required scope is missing", detail, headers });
    },
    claimInsufficient: (detail) =>
      deny("claim_insufficient", { cause: "a required claim is missing, or its value is not accepted", detail }),
    authenticationStale(maxAgeSeconds, acr, scheme, detail) {
      const parameters = {
        error: "insufficient_user_authentication",
        error_description: "A more recent or stronger sign-in is required",
        ...(acr === undefined ? {} : { acr_values: acr.join(" ") }),
        ...(maxAgeSeconds === undefined ? {} : { max_age: String(maxAgeSeconds) }),
      };
      return deny("authentication_stale", {
        cause: "the sign-in is too old or too weak",
        detail,
        headers: [challenge(parameters, scheme)],
      });
    },
  };
}

/**
 * The denial of a token for its times while the clock of this process is known to be wrong: the token may be good, so this is an
 * outage and not the client's fault. Undefined while the clock is right, as far as the store knows.
 */
export function denyForClock(health: StoreHealth): Denied | undefined {
  return clockDiffers(health)
    ? unavailable("the clocks of this process and the store differ, so the times in the token cannot be checked")
    : undefined;
}
