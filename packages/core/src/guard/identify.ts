import type { Proof, ProofOfPossession } from "./proof-of-possession.js";
import type { Credentials, Scheme, TokenSource } from "../auth/credentials.js";
import { describeMissing, readCredentials } from "../auth/credentials.js";
import type { ClientCertificate } from "../auth/certificate.js";
import { hasThumbprint } from "../auth/certificate.js";
import { boundCertificate } from "../auth/claims.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import type { VerifiedToken, Verifier } from "../auth/verifier.js";
import type { DenialDetail } from "../http/denial-detail.js";
import type { Exchange } from "../http/exchange.js";
import type { Denied } from "../http/verdict.js";
import type { RevocationService } from "../revocation/revocations.js";
import type { SharedKeys } from "../store/shared-issuer.js";
import type { StoreHealth } from "../store/ports/health.js";
import type { Challenges } from "./challenges.js";
import { denyForClock } from "./challenges.js";

export interface IdentifyServices<Raw> {
  readonly health: StoreHealth;
  readonly sources: readonly TokenSource<Raw>[];
  /** Undefined where no token is bound to a key. */
  readonly proofOfPossession: Pick<ProofOfPossession, "prove"> | undefined;
  /** Reads the client certificate of a request; undefined if the gate compares none with tokens. */
  readonly readCertificate: ((exchange: Exchange<Raw>) => ClientCertificate) | undefined;
  readonly revocations: Pick<RevocationService, "remember"> | undefined;
  /** The issuer of the keys that several services share. */
  readonly sharedKeys: Pick<SharedKeys, "resolved">;
  readonly challenges: Challenges;
}

/** A token that is bound to a key, with a proof that its sender has this key. The store may have seen the proof before. */
export interface ProvenToken {
  readonly verified: VerifiedToken;
  readonly proof: Proof;
}

/** The sender of a request; undefined for an anonymous one. */
export type Identity = VerifiedToken | ProvenToken | undefined;

type Identified = Identity | Denied;

/** Finds out who has sent a request: the identity, or why its credentials are refused. It has no side effects. */
export type Identify<Raw> = (exchange: Exchange<Raw>) => Identified | Promise<Identified>;

/**
 * Reads the credentials of a request, verifies the token, and verifies the proof of possession of a token that is bound to a
 * key. A token that was verified before is answered synchronously. It does not ask the store: the guard asks whether the token
 * is revoked and whether the proof is new.
 */
export function createIdentify<Raw>(
  services: IdentifyServices<Raw>,
  verifier: Pick<Verifier, "verify" | "known">,
  authentication: "required" | "optional",
): Identify<Raw> {
  const { health, sources, proofOfPossession, readCertificate, revocations, sharedKeys, challenges } = services;

  return function identify(exchange) {
    if (isPreflight(exchange)) return undefined;
    // Shortly after the start it is not known yet under which keys revocations are stored.
    const resolving = revocations === undefined ? undefined : sharedKeys.resolved();
    if (resolving === undefined) return identifyNow(exchange);
    // If too many calls wait, the store is not asked, and the policies for its faults decide.
    const identify = (): Identified | Promise<Identified> => identifyNow(exchange);
    return resolving.then(identify, identify);
  };

  function identifyNow(exchange: Exchange<Raw>): Identified | Promise<Identified> {
    const credentials = readCredentials(exchange, sources, verifier.known);
    if (credentials.kind !== "token") return withoutToken(exchange, credentials);
    const { token, scheme } = credentials;
    const outcome = verifier.verify(token);
    return outcome instanceof Promise
      ? outcome.then((late) => checkPossession(exchange, late, scheme))
      : checkPossession(exchange, outcome, scheme);
  }

  function withoutToken(
    exchange: Exchange<Raw>,
    credentials: Exclude<Credentials, { kind: "token" }>,
  ): Denied | undefined {
    if (credentials.kind !== "none") return challenges.badCredentials(credentials);
    return authentication === "required"
      ? challenges.credentialsRequired(() => describeMissing(exchange, sources))
      : undefined;
  }

  /** A bound token is worth nothing without a proof, and an unbound token cannot be proven (RFC 9449 7). */
  function checkPossession(
    exchange: Exchange<Raw>,
    outcome: VerifiedToken | TokenRefusal,
    scheme: Scheme,
  ): Identified | Promise<Identified> {
    if ("code" in outcome) return refuse(outcome, scheme);
    const { boundTo } = outcome;
    const foreign = readCertificate === undefined ? undefined : refuseCertificate(exchange, outcome, scheme);
    if (foreign !== undefined) return foreign;
    if (boundTo === undefined)
      return scheme === "Bearer" ? outcome : challenges.tokenInvalid("the token is bound to no key", scheme, unbound);
    if (proofOfPossession === undefined || scheme !== "DPoP")
      return challenges.tokenInvalid("a DPoP-bound token was sent as a Bearer token", scheme, sentAsBearer);
    return proofOfPossession
      .prove(exchange, outcome, boundTo)
      .then((proof) => ("replayCheck" in proof ? { verified: outcome, proof } : proof));
  }

  /** Refuses a token that is bound to another certificate than that of the client (RFC 8705 3). */
  function refuseCertificate(exchange: Exchange<Raw>, { auth }: VerifiedToken, scheme: Scheme): Denied | undefined {
    const thumbprint = boundCertificate(auth.claims);
    if (thumbprint === undefined) return undefined;
    const certificate = readCertificate?.(exchange);
    if (certificate === undefined) return challenges.tokenInvalid("the request has no client certificate", scheme);
    return hasThumbprint(certificate, thumbprint)
      ? undefined
      : challenges.tokenInvalid("the token is bound to another client certificate", scheme);
  }

  function refuse(refusal: TokenRefusal, scheme: Scheme): Denied {
    const forClock = refusal.code === "token_untimely" ? denyForClock(health) : undefined;
    return forClock ?? challenges.tokenRefused(refusal, scheme);
  }
}

const unbound = (): DenialDetail => ({ claim: "cnf.jkt", expected: "text, since the scheme is DPoP", found: "none" });
const sentAsBearer = (): DenialDetail => ({ header: "Authorization", expected: "the scheme DPoP", found: "Bearer" });

/** Is the request a CORS preflight (Fetch 3.2.2)? Browsers send no credentials with it, so none can be required. */
export function isPreflight<Raw>(exchange: Exchange<Raw>): boolean {
  return (
    exchange.method === "OPTIONS" &&
    exchange.header("origin") !== undefined &&
    exchange.header("access-control-request-method") !== undefined
  );
}
