import type { JWTPayload } from "jose";
import { isTime } from "./claims.js";
import type { TokenRefusal } from "./token-refusal.js";
import { untimelyToken } from "./token-refusal.js";

/** The event of a logout token (OpenID Connect Back-Channel Logout 1.0, 2.4). */
export const logoutEvent = "http://schemas.openid.net/event/backchannel-logout";

/** Maximum `exp - iat`. Logout tokens are used at once, and their use is recorded until they expire. */
const maxLifetimeSeconds = 86_400;

/** Rules for logout tokens. */
export interface LogoutTokenRules {
  readonly toleranceSeconds: number;
  /** Must `typ` be `logout+jwt`? Then no other token of the issuer can be taken for a logout token. */
  readonly requireType: boolean;
}

/**
 * Checks a logout token (2.6) after signature, `iss`, `aud`, `exp` and identifiers were checked. Returns the cause of a
 * refusal, a fixed phrase for logs; undefined for a logout token.
 */
export function refusalOfLogoutToken(
  header: { readonly typ?: unknown },
  claims: JWTPayload,
  { toleranceSeconds, requireType }: LogoutTokenRules,
  nowSeconds: number,
): string | TokenRefusal | undefined {
  const { iss, iat, exp, jti, events } = claims;
  if (requireType && !(typeof header.typ === "string" && /^(?:application\/)?logout\+jwt$/i.test(header.typ)))
    return "typ is not logout+jwt";
  if (!isTime(iat)) return "iat is missing";
  if (!isTime(exp) || exp - iat > maxLifetimeSeconds) return "exp is missing or more than a day after iat";
  if (!isText(iss)) return "iss is missing";
  if (!isText(jti)) return "jti is missing";
  if ("nonce" in claims) return "the token has a nonce, which only ID tokens have";
  if (!isLogout(events)) return "events does not contain the logout event";
  return iat > nowSeconds + toleranceSeconds ? untimelyToken("iat is in the future") : undefined;
}

function isLogout(events: unknown): boolean {
  if (typeof events !== "object" || events === null || !Object.hasOwn(events, logoutEvent)) return false;
  const event = (events as Record<string, unknown>)[logoutEvent];
  return typeof event === "object" && event !== null && !Array.isArray(event);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
