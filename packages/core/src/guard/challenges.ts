import type { Credentials } from "../auth/bearer.js";
import type { TokenRefusal } from "../auth/verifier.js";
import { bearerChallenge, retryAfter } from "../http/fields.js";
import type { Denied, Header } from "../http/verdict.js";
import { deny } from "../http/verdict.js";

/** The refusals of a gate that carry its challenge, with headers made once. Every cause of a code has the same answer. */
export interface Challenges {
  /** Names the address of the API's metadata in every challenge from now on (RFC 9728 5.1). */
  announce(metadataUrl: string): void;
  credentialsRequired(): Denied;
  /** For a token that is malformed, expired, revoked, meant for another audience, and so on: the client learns no more. */
  tokenInvalid(cause: string): Denied;
  /** For what the request presented instead of a usable token. */
  badCredentials(credentials: Exclude<Credentials, { kind: "none" | "token" }>): Denied;
  tokenRefused(refusal: TokenRefusal): Denied;
  scopeInsufficient(scopes: readonly string[]): Denied;
  claimInsufficient(): Denied;
  /** RFC 9470: what a new sign-in must bring. */
  authenticationStale(maxAgeSeconds: number | undefined, acr: readonly string[] | undefined): Denied;
}

const description = "The access token is malformed, expired, revoked or not meant for this API";

export function createChallenges(realm: string | undefined): Challenges {
  let metadata: string | undefined;
  let [required, invalid, ambiguous] = prepare();

  function challenge(parameters: Readonly<Record<string, string>> = {}): Header {
    return bearerChallenge({
      ...(realm === undefined ? {} : { realm }),
      ...parameters,
      ...(metadata === undefined ? {} : { resource_metadata: metadata }),
    });
  }

  function prepare(): [required: Header[], invalid: Header[], ambiguous: Header[]] {
    return [
      [challenge()],
      [challenge({ error: "invalid_token", error_description: description })],
      [challenge({ error: "invalid_request" })],
    ];
  }

  function tokenInvalid(cause: string): Denied {
    return deny("token_invalid", { cause, headers: invalid });
  }

  return {
    announce(url) {
      metadata = url;
      [required, invalid, ambiguous] = prepare();
    },
    credentialsRequired: () => deny("credentials_required", { cause: "no credentials", headers: required }),
    tokenInvalid,
    badCredentials({ kind, cause }) {
      switch (kind) {
        case "malformed":
          return tokenInvalid(cause);
        case "too_large":
          return deny("token_too_large", { cause, headers: invalid });
        case "ambiguous":
          return deny("request_invalid", { cause, headers: ambiguous });
        case "foreign_origin":
          return deny("origin_refused", { cause });
      }
    },
    tokenRefused: ({ code, cause }) =>
      code === "token_invalid" ? tokenInvalid(cause) : deny(code, { cause, headers: [retryAfter(1)] }),
    scopeInsufficient(scopes) {
      const headers = [challenge({ error: "insufficient_scope", scope: scopes.join(" ") })];
      return deny("scope_insufficient", { cause: "a scope is missing", headers });
    },
    claimInsufficient: () => deny("claim_insufficient", { cause: "a claim is missing or does not suffice" }),
    authenticationStale(maxAgeSeconds, acr) {
      const parameters = {
        error: "insufficient_user_authentication",
        error_description: "A more recent or a stronger sign-in is needed",
        ...(acr === undefined ? {} : { acr_values: acr.join(" ") }),
        ...(maxAgeSeconds === undefined ? {} : { max_age: String(maxAgeSeconds) }),
      };
      return deny("authentication_stale", {
        cause: "the sign-in is too old or too weak",
        headers: [challenge(parameters)],
      });
    },
  };
}

/** The store had to decide and cannot: an outage, answered as such and never as the client's fault. */
export function denyUnavailable(cause: string): Denied {
  return deny("store_unavailable", { cause, headers: [retryAfter(1)] });
}
