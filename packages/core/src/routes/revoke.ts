import { refusalOfNames } from "../auth/claims.js";
import { isCompactJws, maxCompactLength } from "../auth/compact-jws.js";
import { identifyingText } from "../auth/identifying-claim.js";
import { untimelyToken } from "../auth/token-refusal.js";
import type { Exchange } from "../http/exchange.js";
import { onlyField, readForm } from "../http/form.js";
import type { Reply } from "../http/verdict.js";
import type { Check } from "../http/check.js";
import type { OpenedAuth } from "../auth/issuers.js";
import { checkFunction, checkObject, optionError } from "../lib/validate.js";
import type { Revocations } from "../revocation/revocations.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/decisions.js";
import type { OAuthClients } from "./clients.js";
import { resolveClients } from "./clients.js";
import type { ClientCredentials } from "./oauth.js";
import { noStore, notRecorded, oauthError, readClient } from "./oauth.js";
import { answerAt, checkPath, reply } from "./route.js";
import { createTokenVerifier, isOurFault } from "./token-verifier.js";

export interface RevokeRouteOptions<Raw = unknown> {
  /** @default "/revoke" */
  readonly path?: string | undefined;
  /**
   * The clients that may revoke tokens, by their ids: `{ web: { secret }, app: { public: true } }`. They show their secret by
   * HTTP Basic or in the form (RFC 6749 2.3.1), and it is compared in constant time. A token that names another client in
   * `client_id` or `azp` is then refused.
   * @default whoever has a token may revoke it
   */
  readonly clients?: OAuthClients | undefined;
  /**
   * Instead of `clients`, for clients that are kept elsewhere: says whether the client may revoke tokens; exactly true is
   * yes. It gets what the request says of the client (undefined if nothing), and the request. Compare secrets with
   * `crypto.timingSafeEqual()`, and refuse a client whose own secret is unknown.
   * @default whoever has a token may revoke it
   */
  readonly authenticateClient?:
    ((client: ClientCredentials | undefined, raw: Raw) => boolean | Promise<boolean>) | undefined;
}

/** Ends the session of a refresh token. Resolves to whether it was one of ours. */
export type RevokeRefreshToken = (token: string) => Promise<boolean>;

export interface RevokeServices<Raw> {
  readonly auth: OpenedAuth<Raw> | undefined;
  readonly store: Pick<DecisionStore, "state">;
  /** Undefined where revocation is off. */
  readonly revocations: Revocations | undefined;
  /** Undefined where the gate issues no tokens. */
  readonly revokeRefreshToken: RevokeRefreshToken | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Longer than a token lives: it may begin to be good at any time. */
const anyTimeSeconds = 10 * 366 * 86_400;

/**
 * Token revocation (RFC 7009): verifies what it revokes, so that nobody fills the store with tokens that nobody has, and
 * answers 200 also for a token that is unknown or has expired: the client's aim is reached. It verifies less than the guard
 * does: what is refused today, since it is not valid yet or `auth.validate` says so, may pass tomorrow.
 */
export function revokeRoute<Raw>(options: RevokeRouteOptions<Raw>, services: RevokeServices<Raw>): Check<Raw> {
  checkObject("revoke()", options, ["path", "clients", "authenticateClient"]);
  const { path = "/revoke", clients } = options;
  const { auth, store, revocations, revokeRefreshToken, now } = services;
  checkPath("revoke().path", path);
  if (options.authenticateClient !== undefined)
    checkFunction("revoke().authenticateClient", options.authenticateClient);
  if (clients !== undefined && options.authenticateClient !== undefined)
    throw optionError("revoke()", "takes either clients or authenticateClient");
  const authenticateClient: RevokeRouteOptions<Raw>["authenticateClient"] =
    clients === undefined ? options.authenticateClient : resolveClients("revoke().clients", clients);
  if (auth === undefined || revocations === undefined)
    throw optionError("revocation", "is off for this gate, or auth is missing, so routes.revoke() can revoke nothing");
  const verifier = createTokenVerifier(
    auth,
    ({ rules }) => ({
      rules: { ...rules, toleranceSeconds: anyTimeSeconds, exactExpiry: true, maxTokenAgeSeconds: undefined },
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
      const form = await readForm(exchange);
      if (form.kind === "too_large") return oauthError(413, "invalid_request", "The request is too large");
      if (form.kind === "invalid") return oauthError(400, "invalid_request", "The request is no form");
      const { fields } = form;
      const client = readClient(exchange, fields);
      if (client === null)
        return oauthError(
          400,
          "invalid_request",
          "The request names its client in two ways, or in none that can be read",
        );
      if (authenticateClient !== undefined && !(await isClient(client, exchange))) return unknownClient();
      const [token, hint] = [onlyField(fields, "token"), onlyField(fields, "token_type_hint")];
      if (token === undefined) return oauthError(400, "invalid_request", "The request carries no token");
      if (token === null || hint === null) return oauthError(400, "invalid_request", "A parameter is repeated");
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

  /** The hint is for a server that must look a token up: this one sees what it is. */
  async function revoke(token: string, hint: string | undefined, clientId: string | undefined): Promise<Reply> {
    const outcome = token.length <= maxCompactLength && isCompactJws(token) ? await verifier.verify(token) : undefined;
    if (outcome !== undefined && !("code" in outcome)) {
      if (clientId !== undefined && !isIssuedTo(outcome.auth.claims, clientId))
        return oauthError(400, "unauthorized_client", "The token was issued to another client");
      await revocations?.revoke(outcome.auth);
      return done;
    }
    if (revokeRefreshToken !== undefined) {
      if (await revokeRefreshToken(token)) return done;
    } else if (hint === "refresh_token") {
      return oauthError(400, "unsupported_token_type", "Refresh tokens are not revoked here");
    }
    // Where nobody can say whether it is a good token, nobody may say that it is revoked.
    return outcome !== undefined && "code" in outcome && isOurFault(outcome, store) ? notRecorded() : done;
  }
}

const done = reply(200, "application/json", "", [noStore]);

function isIssuedTo(claims: Readonly<Record<string, unknown>>, clientId: string): boolean {
  const client = identifyingText(claims.client_id) ?? identifyingText(claims.azp);
  return client === undefined || client === clientId;
}

function unknownClient(): Reply {
  return oauthError(401, "invalid_client", "The client is unknown, or has not shown that it is this client", [
    ["WWW-Authenticate", "Basic"],
  ]);
}
