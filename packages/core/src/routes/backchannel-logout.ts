import { LRUCache } from "lru-cache";
import type { Auth } from "../auth/claims.js";
import { refusalOfNames } from "../auth/claims.js";
import type { TokenRefusal } from "../auth/token-refusal.js";
import { isCompactJws } from "../auth/access-token.js";
import { refusalOfLogoutToken } from "../auth/logout-token.js";
import { onlyField, readForm } from "../http/form.js";
import type { Reply } from "../http/verdict.js";
import type { OpenedAuth } from "../auth/issuers.js";
import type { Check } from "../request/state.js";
import { checkBoolean, checkFunction, checkObject, optionError, strings } from "../lib/validate.js";
import type { Keyspace } from "../store/keyspace.js";
import type { ForeignLogout } from "../sessions/logout.js";
import type { DecisionStore } from "../store/ports/decisions.js";
import type { StoreHealth } from "../store/ports/health.js";
import { StoreFault } from "../store/ports/fault.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { noStore, notRecorded, oauthError, answerAt, checkPath, reply } from "./endpoint.js";
import { createTokenVerifier, isUnverifiable } from "./token-verifier.js";
import { monotonicNow } from "../lib/real-timers.js";

/** Options of `routes.backchannelLogout()`. */
export interface BackchannelLogoutOptions<Raw = unknown> {
  /** The client id (or ids) of this application at its OpenID providers: the `aud` of logout tokens. */
  readonly audience: string | readonly string[];
  /** Path of the route. @default "/backchannel-logout" */
  readonly path?: string | undefined;
  /** Requires `logout+jwt` as `typ`. `false` is for providers that leave it out, if none of their other tokens is accepted here. @default true */
  readonly requireType?: boolean | undefined;
  /**
   * Ends the application's own state of the session or user. It may be called again for the same logout. If it fails, the
   * logout fails for the provider too.
   * @default nothing
   */
  readonly onLogout?: ((logout: BackchannelLogout, raw: Raw) => void | Promise<void>) | undefined;
}

/** The user and the session that were logged out. */
export interface BackchannelLogout {
  /** Issuer of the logout token. */
  readonly issuer: string;
  /** The user, by the first claim of `auth.subjectClaim`; undefined if only the session is named. */
  readonly subject: string | undefined;
  /** The session (claim `sid`); undefined if all of the user's sessions have ended. */
  readonly sessionId: string | undefined;
  /** Unix seconds. */
  readonly issuedAt: number;
}

export interface LogoutServices<Raw> {
  readonly auth: OpenedAuth<Raw> | undefined;
  readonly store: DecisionStore;
  readonly health: StoreHealth;
  readonly keys: Keyspace;
  /** Ends the session, or all of the user up to `issuedAt`. Undefined where revocation is off. */
  readonly logOut: ((logout: ForeignLogout) => Promise<void>) | undefined;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** A provider that is set up wrongly sends every logout in vain: one warning a minute for each cause is enough. */
const warnEveryMs = 60_000;

/** Maximum number of used tokens that this process remembers. The store tells of the others. */
const maxUsed = 1000;
const usedBefore = "the token was used before";

/**
 * The endpoint at which an OpenID provider reports a logout (OpenID Connect Back-Channel Logout 1.0).
 *
 * The sessions end before the use of the token is recorded, and ending them twice does no more. So a provider may repeat a
 * logout whose response was lost, and a stolen logout token ends no session that began after it. A process ends nothing again
 * for a token that it knows to be used.
 */
export function backchannelLogoutRoute<Raw>(
  options: BackchannelLogoutOptions<Raw>,
  { auth, store, health, keys, logOut, telemetry, logger, now }: LogoutServices<Raw>,
): Check<Raw> {
  checkObject("backchannelLogout()", options, ["audience", "path", "requireType", "onLogout"]);
  const { path = "/backchannel-logout", requireType = true, onLogout } = options;
  checkPath("backchannelLogout().path", path);
  checkBoolean("backchannelLogout().requireType", requireType);
  if (onLogout !== undefined) checkFunction("backchannelLogout().onLogout", onLogout);
  if ((options.audience as unknown) === undefined)
    throw optionError("backchannelLogout().audience", "is required: the client id that your OpenID provider knows");
  const audience = strings("backchannelLogout().audience", options.audience);
  if (auth === undefined || logOut === undefined)
    throw optionError("revocation", "must not be false, and auth is required, for routes.backchannelLogout()");
  const { toleranceSeconds, scope, maxTokenLength } = auth;
  const rules = { toleranceSeconds, requireType };
  /** The causes are a closed list. */
  const warnedAt = new Map<string, number>();
  /** Tokens whose use is recorded. One that comes again shall cost nothing, and not fill an audit trail. */
  const used = new LRUCache<string, true>({ max: maxUsed });
  const verifier = createTokenVerifier(
    auth,
    ({ rules: names }) => ({
      audience,
      requiredClaims: [],
      refusalOf: (header, claims, seconds) =>
        refusalOfNames(claims, names) ?? refusalOfLogoutToken(header, claims, rules, seconds),
    }),
    now,
  );

  return answerAt({
    methods: ["POST"],
    path,
    async answer(exchange) {
      const form = await readForm(exchange, maxTokenLength);
      if (form.kind === "too_large") return oauthError(413, "invalid_request", "The request is too large");
      if (form.kind === "invalid") return refuse("the request is no form");
      const token = onlyField(form.fields, "logout_token");
      if (typeof token !== "string") return refuse("the form has no logout_token, or several");
      if (token.length > maxTokenLength) return refuse("the token is longer than auth.maxTokenLength");
      if (!isCompactJws(token, maxTokenLength)) return refuse("logout_token is not a JWT");
      const outcome = await verifier.verify(token);
      if ("code" in outcome) return isUnverifiable(outcome, health) ? unavailable() : refuse(causeOf(outcome));
      const { issuer, sessionId, issuedAt = 0, expiresAt, jti = "" } = outcome.auth;
      const user = userOf(outcome.auth);
      if (user === undefined && sessionId === undefined) return refuse("the token has neither a user nor sid");
      const use = JSON.stringify([issuer, jti]);
      if (used.has(use)) return refuse(usedBefore);
      try {
        await logOut({ issuer, principal: user?.principal, sessionId, issuedAt });
        await onLogout?.({ issuer, subject: user?.subject, sessionId, issuedAt }, exchange.raw);
        const ttlMs = Math.ceil((expiresAt + toleranceSeconds) * 1000 - now()) + 1000;
        const repeated = await isRepeated(keys.logoutToken(issuer, jti), ttlMs);
        used.set(use, true);
        if (repeated) return refuse(usedBefore);
        telemetry.loggedOut("ended");
        return done;
      } catch (error) {
        if (error instanceof StoreFault) return unavailable();
        throw error;
      }
    },
  });

  /** One response for every cause, so that guesses reveal nothing. The cause is for operators: a fixed phrase, or a code of jose. */
  function refuse(cause: string): Reply {
    telemetry.loggedOut("refused", cause);
    const at = monotonicNow();
    if (at - (warnedAt.get(cause) ?? Number.NEGATIVE_INFINITY) >= warnEveryMs) {
      warnedAt.set(cause, at);
      logger.warn({ code: "logout_refused", cause }, `portcullis: a back-channel logout was refused: ${cause}`);
    }
    return refusal;
  }

  function unavailable(): Reply {
    telemetry.loggedOut("unavailable");
    return notRecorded();
  }

  /** Access tokens name the user by the first claim that they have. A later claim may name another user. */
  function userOf(named: Auth): Auth | undefined {
    return named.principal === "" || scope.isOfLaterClaim(named.principal) ? undefined : named;
  }

  async function isRepeated(key: string, ttlMs: number): Promise<boolean> {
    const answer = await store.ask({ beforeToken: [], token: undefined, replayCheck: { key, ttlMs }, afterToken: [] });
    if (answer instanceof StoreFault) throw answer;
    if (answer.replayed instanceof StoreFault) throw answer.replayed;
    return answer.replayed !== false;
  }
}

function causeOf({ cause, claim }: TokenRefusal): string {
  return claim === undefined ? cause : `${cause}: ${claim}`;
}

const done = reply(200, "application/json", "", [noStore]);

const refusal = oauthError(400, "invalid_request", "The logout token is missing, invalid or already used");
