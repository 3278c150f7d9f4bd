import type { RefreshTokens } from "./refresh-token.js";
import type { ResolvedTokens } from "./options.js";
import type { LiveToken, SessionRecord } from "../store/ports/sessions.js";
import type { IssuedTokens } from "./issue-request.js";
import { claimsOfGrant } from "./issue-request.js";

export interface MintRequest {
  readonly subject: string;
  readonly sessionId: string;
  readonly record: SessionRecord;
  /** The jti of the refresh token that was replaced; undefined for the first. */
  readonly predecessor: string | undefined;
  /** Unix milliseconds. */
  readonly nowMs: number;
}

/** Signs the tokens that the record of a session describes. The same record gives the same tokens. */
export type MintTokens = (request: MintRequest) => Promise<IssuedTokens>;

export function createTokenMint(tokens: ResolvedTokens, refreshTokens: RefreshTokens, orgClaim: string): MintTokens {
  return async function mintTokens({ subject, sessionId, record, predecessor, nowMs }) {
    const { org, issuedAt, generation, current, access } = record;
    const { claims, scopes } = claimsOfGrant(record.grant);
    const newest = access.at(-1) as LiveToken;
    const refreshExpiresAt = Math.floor(record.idleEndsAt / 1000);
    const accessToken = await tokens.keys.sign({
      ...claims,
      ...(org === undefined ? {} : { [orgClaim]: org }),
      iss: tokens.issuer,
      sub: subject,
      aud: tokens.audience.length === 1 ? (tokens.audience[0] as string) : [...tokens.audience],
      sid: sessionId,
      jti: newest.jti,
      iat: issuedAt,
      exp: newest.expiresAt,
    });
    const refreshToken = await refreshTokens.sign(
      { subject, sessionId, org, jti: current, generation, issuedAt, expiresAt: refreshExpiresAt },
      predecessor,
    );
    const now = Math.floor(nowMs / 1000);
    const expiresIn = newest.expiresAt - now;
    return {
      accessToken,
      refreshToken,
      sessionId,
      expiresAt: newest.expiresAt,
      expiresIn,
      refreshExpiresAt,
      refreshExpiresIn: refreshExpiresAt - now,
      scopes,
      response: {
        access_token: accessToken,
        token_type: "Bearer",
        expires_in: expiresIn,
        refresh_token: refreshToken,
        ...(scopes.length === 0 ? {} : { scope: scopes.join(" ") }),
      },
    };
  };
}
