import { refusalOfNames } from "../auth/claims.js";
import { isCompactJws } from "../auth/access-token.js";
import { identifyingText } from "../auth/identifying-claim.js";
import { untimelyToken } from "../auth/token-refusal.js";
import type { Exchange } from "../http/exchange.js";
import { fullCause } from "../http/denial-detail.js";
import { onlyField, readForm } from "../http/form.js";
import type { Reply } from "../http/verdict.js";
import type { OpenedAuth } from "../auth/issuers.js";
import type { Check } from "../request/state.js";
import { checkFunction, checkObject, optionError } from "../lib/validate.js";
import type { Revocations } from "../revocation/revocations.js";
import { maxRecordSeconds } from "../revocation/revocations.js";
import type { StoreHealth } from "../store/ports/health.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { ClientCredentials, OAuthClients } from "./client-authentication.js";
import { readClient, resolveClients } from "./client-authentication.js";
import { noStore, notRecorded, oauthError, answerAt, checkPath, reply } from "./endpoint.js";
import { createTokenVerifier, isUnverifiable } from "./token-verifier.js";

/** Options of `routes.revoke()`. */
export interface RevokeRouteOptions<Raw = unknown> {
  /** Path of the endpoint. @default "/revoke" */
  readonly path?: string | undefined;
  /**
   * The clients that may revoke tokens, by their ids: `{ web: { secret }, app: { public: true } }`. A client sends its secret
   * by HTTP Basic or in the form (RFC 6749 2.3.1). Secrets are compared in constant time. A token that names another client in
   * `client_id` or `azp` is refused.
   * @default every client that has a token may revoke it
   */
  readonly clients?: OAuthClients | undefined;
  /**
   * Authenticates clients that are not in a list: returns exactly true if the client may revoke tokens. Gets the credentials in
   * the request (undefined if there are none), and the request. Compare secrets with `crypto.timingSafeEqual()`, and refuse a
   * client whose secret you do not know. Excludes `clients`.
   * @default every client that has a token may revoke it
   */
  readonly authenticateClient?:
    ((client: ClientCredentials | undefined, raw: Raw) => boolean | Promise<boolean>) | undefined;
}

/** Ends the session of a refresh token. Resolves to whether the token was issued here. */
export type RevokeRefreshToken = (token: string) => Promise<boolean>;

export interface RevokeServices<Raw> {
  readonly auth: OpenedAuth<Raw> | undefined;
  readonly health: StoreHealth;
  /** Undefined where revocation is off. */
  readonly revocations: Revocations | undefined;
  /** Undefined where the gate issues no tokens. */
  readonly revokeRefreshToken: RevokeRefreshToken | undefined;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/**
 * Token revocation (RFC 7009). It verifies tokens before it revokes them, so that nobody can fill the store with invented
 * tokens. An unknown or expired token gets 200 too: it is not valid any more. It verifies less than the guard: a token that
 * is not valid yet, or that `auth.validate` refuses, may become valid later.
 */
export function revokeRoute<Raw>(options: RevokeRouteOptions<Raw>, services: RevokeServices<Raw>): Check<Raw> {
  checkObject("revoke()", options, ["path", "clients", "authenticateClient"]);
  const { path = "/revoke", clients } = options;
  const { auth, health, revocations, revokeRefreshToken, logger, now } = services;
  checkPath("revoke().path", path);
  if (options.authenticateClient !== undefined)
    checkFunction("revoke().authenticateClient", options.authenticateClient);
  if (clients !== undefined && options.authenticateClient !== undefined)
    throw optionError("revoke()", "takes either clients or authenticateClient");
  const authenticateClient: RevokeRouteOptions<Raw>["authenticateClient"] =
    clients === undefined ? options.authenticateClient : resolveClients("revoke().clients", clients);
  if (auth === undefined || revocations === undefined)
    throw optionError("revocation", "must not be false, and auth is required, for routes.revoke()");
  const { maxTokenLength } = auth;
  const verifier = createTokenVerifier(
    auth,
    ({ rules }) => ({
      // The token may become valid at any time before its record ends.
      rules: { ...rules, toleranceSeconds: maxRecordSeconds, exactExpiry: true, maxTokenAgeSeconds: undefined },
      refusalOf: (_header, claims, seconds) =>
        refusalOfNames(claims, rules) ??
        (Number(claims.exp) <= seconds ? untimelyToken("the token is expired") : undefined),
    }),
    now,
  );

  return answerAt({
    methods: ["POST"],
    path,
    async answer(exchange) {
      const form = await readForm(exchange, maxTokenLength);
      if (form.kind === "too_large") return refuse(oauthError(413, "invalid_request", "The request is too large"));
      if (form.kind === "invalid") return refuse(oauthError(400, "invalid_request", "The request body is not a form"));
      const { fields } = form;
      const client = readClient(exchange, fields);
      if (client === null)
        return refuse(
          oauthError(400, "invalid_request", "The request names its client twice, or in a way that cannot be read"),
        );
      if (authenticateClient !== undefined && !(await isClient(client, exchange))) return refuse(unknownClient());
      const [token, hint] = [onlyField(fields, "token"), onlyField(fields, "token_type_hint")];
      if (token === undefined) return refuse(oauthError(400, "invalid_request", "The request has no token"));
      if (token === null || hint === null) return refuse(oauthError(400, "invalid_request", "A parameter is repeated"));
      try {
        return await revoke(token, hint, authenticateClient === undefined ? undefined : client?.id);
      } catch (error) {
        if (error instanceof StoreFault) return notRecorded();
        throw error;
      }
    },
  });

  async function isClient(client: ClientCredentials | undefined, { raw }: Exchange<Raw>): Promise<boolean> {
    const answer: unknown = await authenticateClient?.(client, raw);
    return answer === true;
  }

  function refuse(answer: Reply): Reply {
    log(`the request was answered with ${answer.status}: ${typeof answer.body === "string" ? answer.body : ""}`);
    return answer;
  }

  /** The client of an unknown token gets the same answer as for a revoked one. */
  function log(cause: string): void {
    logger.debug({ code: "revocation_refused", cause }, "portcullis: a request to revoke a token had no effect");
  }

  /** The hint is for servers that must look a token up. Here the token itself shows its type. */
  async function revoke(token: string, hint: string | undefined, clientId: string | undefined): Promise<Reply> {
    const outcome = isCompactJws(token, maxTokenLength) ? await verifier.verify(token) : undefined;
    if (outcome !== undefined && !("code" in outcome)) {
      if (clientId !== undefined && !isIssuedTo(outcome.auth.claims, clientId))
        return refuse(oauthError(400, "unauthorized_client", "The token was issued to another client"));
      await revocations?.revoke(outcome.auth);
      return done;
    }
    if (revokeRefreshToken !== undefined) {
      if (await revokeRefreshToken(token)) return done;
    } else if (hint === "refresh_token") {
      return refuse(oauthError(400, "unsupported_token_type", "Refresh tokens are not revoked here"));
    }
    const refused = outcome !== undefined && "code" in outcome ? outcome : undefined;
    log(refused === undefined ? "the token is not a JWT" : fullCause(refused.cause, refused.detail?.()));
    // A token that could not be verified may be valid, so the response must not say that it is revoked.
    return refused !== undefined && isUnverifiable(refused, health) ? notRecorded() : done;
  }
}

const done = reply(200, "application/json", "", [noStore]);

function isIssuedTo(claims: Readonly<Record<string, unknown>>, clientId: string): boolean {
  const client = identifyingText(claims.client_id) ?? identifyingText(claims.azp);
  return client === undefined || client === clientId;
}

function unknownClient(): Reply {
  return oauthError(401, "invalid_client", "Client authentication failed", [["WWW-Authenticate", "Basic"]]);
}
