import { maxCompactLength } from "./access-token.js";
import type { CertificateBoundOptions, ResolvedCertificateBound } from "./certificate.js";
import { resolveCertificateBound } from "./certificate.js";
import type { TokenFrom, TokenSource } from "./credentials.js";
import { resolveSources } from "./credentials.js";
import type { DpopContext, DpopOptions, ResolvedDpop } from "./dpop/options.js";
import { resolveDpop } from "./dpop/options.js";
import type { AudienceClaim, IssuerOptions, IssuerSettings, ResolvedIssuer } from "./issuer-options.js";
import { issuerOptions, namesOf, resolveIssuer, resolveIssuers } from "./issuer-options.js";
import { IssuerScope } from "./issuer-scope.js";
import { challengeText } from "../http/fields.js";
import type { Duration } from "../lib/duration.js";
import { durationSeconds } from "../lib/duration.js";
import { checkBoolean, checkInteger, checkObject, checkString, optionError, rangeError } from "../lib/validate.js";

/**
 * Verification of access tokens. Exactly one of `secret`, `publicKey`, `jwks`, `jwksUri` gives the keys; with `issuer` alone
 * they are discovered (OpenID Connect Discovery 1.0, RFC 8414).
 */
export interface AuthOptions<Raw = unknown> extends IssuerSettings {
  /**
   * Expected `aud`: one, or a list of which one is enough. `{ claim, values }` if another claim holds the audience; `false`
   * accepts tokens for any audience.
   */
  readonly audience: string | readonly string[] | AudienceClaim | false;
  /** Several issuers, each with its own keys, audience and algorithms. @default none */
  readonly issuers?: readonly IssuerOptions[] | undefined;
  /**
   * Issuer of the tokens in the `auth:` keys of Redis. Other services read and write these keys, which name no issuer. One of
   * the issuers of this gate, or `false` for none of them. Two gates with different values are a finding.
   * @default the only issuer, unless another gate claimed the keys for its issuer before
   */
  readonly sharedIssuer?: string | false | undefined;
  /**
   * Tolerated clock difference for `nbf` and `iat`, in whole seconds; for `exp` only if revocation is off. `0` tolerates none.
   * @default "5s"
   */
  readonly clockTolerance?: Duration | undefined;
  /** Source of the token: the Authorization header, a cookie, a function, or a list of them. @default "header" */
  readonly tokenFrom?: TokenFrom<Raw> | readonly TokenFrom<Raw>[] | undefined;
  /**
   * Maximum length of a token in characters, 1024 to 65536. Node refuses requests with more than 16 KiB of header fields, unless
   * `--max-http-header-size` allows more; browsers keep no cookie of more than 4 KiB. @default 8192
   */
  readonly maxTokenLength?: number | undefined;
  /**
   * Allow tokens whose parts are padded with `=`, against RFC 7515 2, where a function in `tokenFrom` reads them: the tokens in
   * `x-amzn-oidc-data` of an AWS load balancer. @default false
   */
  readonly paddedTokens?: boolean | undefined;
  /** Tokens bound to a key of the client (DPoP, RFC 9449); needs `publicUrl`. @default false */
  readonly dpop?: boolean | DpopOptions | undefined;
  /**
   * Tokens bound to a TLS client certificate (RFC 8705). An object says where the certificate of a request is, and the gate
   * compares it with the token; `true` leaves that to the proxy in front. @default false
   */
  readonly certificateBound?: boolean | CertificateBoundOptions<Raw> | undefined;
  /** Let requests without a token pass as anonymous. A bad token is still refused. @default false */
  readonly optional?: boolean | undefined;
  /** The realm of challenges (RFC 9110 11.5). @default none */
  readonly realm?: string | undefined;
}

/** The options of `auth` after they were checked. */
export interface ResolvedAuth<Raw> {
  readonly issuers: readonly ResolvedIssuer[];
  /** Does the (unverified) issuer of a token choose its keys and rules? */
  readonly byIssuer: boolean;
  readonly scope: IssuerScope;
  /** Tolerated clock difference in seconds. */
  readonly toleranceSeconds: number;
  /** The longest `maxLifetime` of all issuers. */
  readonly maxLifetimeSeconds: number;
  readonly sources: readonly TokenSource<Raw>[];
  /** Maximum length of a token in characters. */
  readonly maxTokenLength: number;
  readonly dpop: ResolvedDpop | undefined;
  /** Reads the client certificate of a request, which the gate compares with bound tokens. */
  readonly readCertificate: ResolvedCertificateBound<Raw>["read"];
  readonly optional: boolean;
  readonly realm: string | undefined;
}

/** Other options that decide about `auth`. */
export interface AuthContext extends DpopContext {
  /** Is revocation on? Then `exp` has no tolerance. */
  readonly revocation: boolean;
  /** Issuer of the tokens that this gate issues. */
  readonly ownIssuer?: string | undefined;
  /** Maximum lifetime of the tokens that this gate issues, in seconds. */
  readonly maxIssuedSeconds?: number | undefined;
}

const known = [
  ...issuerOptions,
  ...["issuers", "clockTolerance", "sharedIssuer", "tokenFrom", "maxTokenLength", "paddedTokens"],
  ...["dpop", "certificateBound", "optional", "realm"],
];

export function resolveAuth<Raw>(options: AuthOptions<Raw>, context: AuthContext): ResolvedAuth<Raw> {
  checkObject("auth", options, known);
  const { clockTolerance = "5s", tokenFrom = "header", optional = false, realm } = options;
  const { dpop = false, certificateBound = false, maxTokenLength = maxCompactLength, paddedTokens = false } = options;
  checkInteger("auth.maxTokenLength", maxTokenLength, 1024, 65_536);
  checkBoolean("auth.paddedTokens", paddedTokens);
  checkBoolean("auth.optional", optional);
  const certificates = resolveCertificateBound<Raw>(certificateBound);
  if (realm !== undefined) checkChallengeText("auth.realm", realm);
  const toleranceSeconds = clockTolerance === 0 ? 0 : durationSeconds("auth.clockTolerance", clockTolerance, 600);
  const proofs = resolveDpop(dpop, context);
  const common = {
    toleranceSeconds,
    exactExpiry: context.revocation,
    confirmation: {
      dpop: proofs === undefined ? "off" : proofs.required ? "required" : "optional",
      certificate: certificates.accepted,
      certificateRequired: certificates.required,
    },
  } as const;
  const issuers =
    options.issuers === undefined
      ? [resolveIssuer("auth", options, {}, common)]
      : resolveIssuers(options.issuers, options, common);
  checkOwnSubject(issuers, context.ownIssuer);
  const scope = resolveScope(issuers, options.sharedIssuer, context.ownIssuer);
  const rules = { publicUrl: context.publicUrl, maxLength: maxTokenLength, padded: paddedTokens };
  const sources = resolveSources<Raw>(tokenFrom, rules);
  const maxLifetimeSeconds = Math.max(...issuers.map(({ rules }) => rules.maxLifetimeSeconds));
  if ((context.maxIssuedSeconds ?? 0) > maxLifetimeSeconds)
    throw rangeError("auth.maxLifetime", "must be at least tokens.idleLifetime: a cut-off must outlive every token");
  return {
    issuers,
    byIssuer: issuers.length > 1 || issuers.some(({ issuer, keys }) => typeof issuer === "function" || keys.byIssuer),
    scope,
    toleranceSeconds,
    maxLifetimeSeconds,
    sources,
    maxTokenLength,
    dpop: proofs,
    readCertificate: certificates.read,
    optional,
    realm,
  };
}

function resolveScope(issuers: readonly ResolvedIssuer[], sharedIssuer: unknown, own: string | undefined): IssuerScope {
  const names = issuers.flatMap(({ issuer }) => namesOf(issuer));
  const open = issuers.some(({ issuer }) => typeof issuer === "function");
  return new IssuerScope({ known: names, shared: checkShared(names, sharedIssuer, open), open, own });
}

/** Tokens of this gate name users by `sub`, and so do the records of their sessions. */
function checkOwnSubject(issuers: readonly ResolvedIssuer[], own: string | undefined): void {
  if (own === undefined) return;
  const issuer =
    issuers.find((one) => namesOf(one.issuer).includes(own)) ?? issuers.find((one) => typeof one.issuer !== "object");
  if (issuer?.rules.subjectClaims?.[0] === "sub" || issuer === undefined) return;
  throw optionError("auth.subjectClaim", 'must begin with "sub" for tokens.issuer, whose tokens name users by sub');
}

/** With a wrong issuer, no revocation by other services would be seen. */
function checkShared(names: readonly string[], shared: unknown, open: boolean): string | false | undefined {
  if (shared === undefined || shared === false) return shared;
  if (open || names.length === 0) checkString("auth.sharedIssuer", shared);
  if (names.length === 0 && !open)
    throw optionError(
      "auth.sharedIssuer",
      "needs auth.issuer: without it a gate cannot tell the issuers of tokens apart",
    );
  if (open || names.some((name) => name === shared)) return shared as string;
  throw optionError(
    "auth.sharedIssuer",
    "must be one of the issuers, or false if the auth: keys of this Redis belong to another one",
  );
}

function checkChallengeText(option: string, text: unknown): void {
  checkString(option, text);
  if (!challengeText.test(text)) throw optionError(option, 'must be printable ASCII without " and \\');
}
