export type { AuthenticateOptions, Gate, GuardOptions, Verification } from "./gate-types.js";
export type { DenialCode, Denied, DenyOptions, Header, Problem } from "./http/verdict.js";
export type { Finding, FindingCode } from "./store/ports/health.js";
export type { Health } from "./health/monitor.js";
export type { Routes } from "./routes/routes.js";
export type { ClaimTest, RecentAuthOptions } from "./guard/authorize.js";
export type { Auth, Claims, Register } from "./auth/claims.js";
export type { ClaimPath, Identifier } from "./auth/identifying-claim.js";
export type { NamedUser } from "./auth/principal.js";
export type { TokenReader } from "./auth/credentials.js";
export type { IssuerTest, TokenValidator } from "./auth/verifier.js";
export type { PublicKeyOption } from "./auth/keys/public-keys.js";
export type { KeyFunction } from "./auth/keys/key-function.js";
export type { AsymmetricAlgorithm, HmacAlgorithm, JwsAlgorithm } from "./auth/keys/algorithms.js";
export type { SecretOption } from "./auth/keys/secret-keys.js";
export type { LoginAttempt, SucceedOptions } from "./login/attempt.js";
export type { AttemptState, Logins, LoginState, LoginTarget, UnblockOptions } from "./login/administration.js";
export type { CacheCodec, CodecChoice } from "./cache/entry.js";
export type {
  Cache,
  CacheSetOptions,
  FactoryContext,
  GateCache,
  GetOrSetOptions,
  RequestCache,
} from "./cache/cache-types.js";
export { CacheTimeout } from "./cache/single-flight.js";
export type { Elected, Leader, LeaderOptions, LeadershipLost, LeaderTask } from "./coordination/leader.js";
export type { Lock } from "./coordination/held-lock.js";
export { LockError, LockLostError } from "./coordination/lock-error.js";
export type { LockErrorCode, LockLossReason } from "./coordination/lock-error.js";
export type { AcquireOptions, LockOptions } from "./coordination/lock-options.js";
export type { LockedTask, Locks } from "./coordination/locks.js";
export type { PurgePathOptions, Responses } from "./response-cache/invalidation.js";
export type { Facts } from "./request/facts.js";
export { abortOnDisconnect, onResponseEnd } from "./http/response-end.js";
export type { RateLimitFormat } from "./http/fields.js";
export type { RouteCondition } from "./http/path.js";
export type { FactoryOptions, ServeOptions, ServerFactory, Serving } from "./http/serving.js";
export { DenialError } from "./http/verdict.js";
export type { CertificateBoundOptions, CertificateSource, ClientCertificate } from "./auth/certificate.js";
export type { AuthOptions } from "./auth/options.js";
export type { AudienceClaim } from "./auth/issuer-options.js";
export type { DpopOptions } from "./auth/dpop/options.js";
export type { Duration } from "./lib/duration.js";
export type { IssuerOptions } from "./auth/issuer-options.js";
export type { AttemptLimitOptions, LoginDeviceOptions, LoginOutcome, LoginVerdict } from "./login/options.js";
export type { ThrottleLoginOptions } from "./login/options.js";
export type { BlockOptions, LimitOptions } from "./limits/options.js";
export type { PortcullisOptions } from "./options.js";
export type { RevocationTest } from "./revocation/own-check.js";
export type { RevocationOptions, RevocationPolicy } from "./revocation/options.js";
export type { CacheOptions, CachePolicy, LocalCacheOptions } from "./cache/options.js";
export type { JwksFunction, RemoteKeysSettings } from "./auth/keys/options.js";
export type { FetchedResponse, FetchFunction } from "./auth/keys/fetch-json.js";
export type { CookieSource, TokenFrom } from "./auth/credentials.js";
export type { BackchannelLogout, BackchannelLogoutOptions } from "./routes/backchannel-logout.js";
export type { HealthRouteOptions } from "./routes/health.js";
export type { JwksRouteOptions } from "./routes/jwks.js";
export type { MetricsRouteOptions } from "./routes/metrics.js";
export type { ResourceMetadataOptions } from "./routes/resource-metadata.js";
export type { ClientCredentials, OAuthClient, OAuthClients } from "./routes/client-authentication.js";
export type { RevokeRouteOptions } from "./routes/revoke.js";
export type { CookieOptions, TokenCookies } from "./sessions/cookies.js";
export type { TokensOptions } from "./sessions/options.js";
export type { SigningKeyOption } from "./auth/keys/signing-keys.js";
export type { SessionEnd, SessionEndReason } from "./sessions/events.js";
export type { Device, IssuedTokens, IssueRequest, RefreshRequest } from "./sessions/issue-request.js";
export type { Page, PageOptions } from "./lib/page.js";
export type { EndedSessions, ListOptions, LiveSubject, Session, Sessions, Subject } from "./sessions/sessions.js";
export { TokenError } from "./sessions/token-error.js";
export type { TokenAnswer, TokenErrorCode } from "./sessions/token-error.js";
export type { Tokens } from "./sessions/tokens.js";
export type { IssuedOneTimeValue, OneTimeOptions, OneTimeValue, OneTimeValues } from "./coordination/one-time.js";
export type { Consumed, ConsumeOptions } from "./guard/consume.js";
export type { ExplainOptions } from "./guard/explain.js";
export type { ExplainedCheck, ExplainedLimit, ExplainedUser, Explanation } from "./guard/explanation.js";
export type { VerifyOptions } from "./guard/message-exchange.js";
export { ConnectionLimitError } from "./realtime/connection-types.js";
export type {
  ConnectionEnd,
  ConnectionKind,
  Connections,
  WatchedConnection,
  WatchOptions,
} from "./realtime/connection-types.js";
export type { ConnectionsOptions } from "./realtime/options.js";
export type { EventFacts, EventsOptions } from "./realtime/event-options.js";
export type { IdempotencyOptions } from "./coordination/idempotency-options.js";
export type {
  CredentialOptions,
  LocalResponseOptions,
  QueryOptions,
  ResponseCacheOptions,
  ResponsesOptions,
} from "./response-cache/options.js";
export type {
  Channel,
  ChannelGap,
  ChannelListener,
  ChannelMessage,
  ChannelOptions,
  GateChannels,
  PublishOptions,
  SubscribeOptions,
  Subscription,
} from "./realtime/channel-options.js";
export type { RedisInstances, RedisNode, RedisServerOptions, RedisTarget } from "./store/redis/options.js";
export type { Quota } from "./http/quota.js";
export type { QuotaKey, QuotaKeyPart } from "./limits/partition.js";
export type {
  ListedBlock,
  ListedOverride,
  OverridesOptions,
  PeekOptions,
  QuotaOverride,
  Quotas,
  QuotaState,
  TopKey,
} from "./limits/administration.js";
export type { CountOnly, Of, PartitionPart, Settle } from "./limits/policy.js";
export type { BreakerControl, BreakerState } from "./lib/breaker.js";
export type { CheckableToken, NamedToken, Revocations, RevocableToken } from "./revocation/revocations.js";
export { StoreFault } from "./store/ports/fault.js";
export type { Algorithm } from "./store/ports/decisions.js";
export type { FaultKind } from "./store/ports/fault.js";
export type { StoreState } from "./store/ports/health.js";
export type { RevokeOptions } from "./store/ports/revocation.js";
export type { RedisLike } from "./store/redis/client.js";
export type { ExpiringPassword, PasswordFunction } from "./store/redis/password.js";
export type { IpFamily, NatMap, RedisTls } from "./store/redis/topology.js";
export type { DenialDetail } from "./http/denial-detail.js";
export { events } from "./telemetry/events.js";
export type { TelemetryOptions } from "./telemetry/options.js";
export type { Metric, Sample } from "./telemetry/metrics.js";
export type { AuditEvent, AuditEventType, AuditListener } from "./telemetry/audit.js";
export type { Logger } from "./telemetry/logger.js";
