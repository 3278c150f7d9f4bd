import type { RateLimitFormat } from "./http/fields.js";
import { rateLimitFormats } from "./http/fields.js";
import { checkProblemTypes } from "./http/problem-types.js";
import { refuseRequest } from "./lib/uncalled.js";
import {
  checkFunction,
  checkInteger,
  checkObject,
  checkOneOf,
  checkString,
  isTrustworthyUrl,
  optionError,
} from "./lib/validate.js";
import type { Policy } from "./limits/policy.js";
import type { AuditListener } from "./telemetry/audit.js";
import type { Logger } from "./telemetry/logger.js";
import { createDefaultLogger, createSafeLogger } from "./telemetry/logger.js";
import type { ResolvedTelemetry, TelemetryOptions } from "./telemetry/options.js";
import { resolveTelemetry } from "./telemetry/options.js";
import type { ResolvedAuth, AuthOptions } from "./auth/options.js";
import { resolveAuth } from "./auth/options.js";
import type { CacheOptions, ResolvedCache } from "./cache/options.js";
import { resolveCache } from "./cache/options.js";
import type { ResolvedResponses, ResponsesOptions } from "./response-cache/options.js";
import { resolveResponses } from "./response-cache/options.js";
import type { Duration } from "./lib/duration.js";
import { durationMs } from "./lib/duration.js";
import type { LimitOptions } from "./limits/options.js";
import { resolveLimits } from "./limits/options.js";
import type { RedisInstances, RedisTarget, ResolvedRedis } from "./store/redis/options.js";
import { resolveRedis } from "./store/redis/options.js";
import type { ResolvedRevocation, RevocationOptions } from "./revocation/options.js";
import { resolveRevocation } from "./revocation/options.js";
import type { ConnectionsOptions, ResolvedConnections } from "./realtime/options.js";
import { resolveConnections } from "./realtime/options.js";
import type { ResolvedService } from "./store/service-name.js";
import { checkService, resolveService } from "./store/service-name.js";
import type { ResolvedTokens, TokensOptions } from "./sessions/options.js";
import { acceptOwnTokens, resolveTokens } from "./sessions/options.js";

/** The options of a gate. Durations are milliseconds or strings such as `"30s"`, `"5m"`, `"2h"`. */
export interface PortcullisOptions<Raw = unknown> {
  /**
   * Store of the state that processes share: a URL, its parts, a `Redis` or `Cluster` client of ioredis, two of these as
   * `{ security, cache }`, or `"memory"` for this process alone. Required in production (`NODE_ENV=production`).
   * @default "memory" with a warning
   */
  readonly redis?: RedisTarget | RedisInstances | undefined;
  /** Prefix of every key in Redis. @default "" */
  readonly prefix?: string | undefined;
  /**
   * Name of the service: 1 to 64 letters, digits, `_`, `-` and `.`. It separates caches and stored responses of services on the
   * same Redis, and is a label of the metrics. Gates with the same name share their caches.
   * @default in keys a digest of `auth.audience`, or else a name that all such services share; no label
   */
  readonly service?: string | undefined;
  /**
   * Secret of the digests that stand for addresses and unusual identifiers in Redis. The same for all processes.
   * @default a public value
   */
  readonly keySecret?: string | undefined;
  /** Verification of tokens. @default none: every request is anonymous */
  readonly auth?: AuthOptions<Raw> | undefined;
  /** Issuing of tokens by `gate.tokens`. @default none: another service issues them */
  readonly tokens?: TokensOptions | undefined;
  /** Revocation of tokens; `false` accepts revoked tokens. @default on if `auth` is given */
  readonly revocation?: RevocationOptions | false | undefined;
  /** Rate-limit policies of `guard()`. @default [] */
  readonly limits?: readonly LimitOptions<Raw>[] | undefined;
  /** The request cache; `false` for none. @default { ttl: "5m" } */
  readonly cache?: CacheOptions | false | undefined;
  /** The tier of responses in process that all caches of responses share. @default { local: { ttl: "5s", entries: 5_000, bytes: 10_485_760 } } */
  readonly responses?: ResponsesOptions | undefined;
  /** Bounds of open connections that end with their token: event streams, WebSockets. @default { maxPerUser: 20 } */
  readonly connections?: ConnectionsOptions | undefined;
  /** Form of the rate-limit fields in responses; `false` for none. @default "draft-8" */
  readonly headers?: RateLimitFormat | undefined;
  /** Maximum wait of a request for the store. @default 50 (ms) */
  readonly deadline?: Duration | undefined;
  /**
   * Maximum wait for the first connection to the store, and once for the connection after the process stood still, as
   * serverless functions do between requests. The wait begins with the first call for a request, and later calls have the rest
   * of it. At least `deadline`. @default 500 (ms)
   */
  readonly connectDeadline?: Duration | undefined;
  /** Length in bits of the IPv6 networks by which limits count IPv6 addresses. @default 56 */
  readonly ipv6PrefixLength?: number | undefined;
  /** Number of processes among which a limit is divided while the store is down. @default 1 */
  readonly instances?: number | undefined;
  /** URL at which clients reach this API, such as `"https://api.example.com"`; never taken from the Host header. @default none */
  readonly publicUrl?: string | undefined;
  /**
   * Start of the problem types of refusals: the code follows it, as in `"https://api.example.com/problems/"`. Types that are
   * registered with IANA stay. @default none: the type is `about:blank`
   */
  readonly problemTypes?: string | undefined;
  /** Property of the request that holds `auth` for handlers. @default "auth" */
  readonly property?: string | undefined;
  /** Logger with the methods of pino. Its failures are dropped. @default warnings only, by process.emitWarning */
  readonly logger?: Logger | undefined;
  /**
   * Receives security events with users and sessions, for an audit trail: sign-ins, sign-outs, revocations, lock-outs, and what
   * operators change. What it throws is not passed on. @default none: events are only counted, without users
   */
  readonly audit?: AuditListener | undefined;
  /** Name of the gate in metrics, buckets of histograms, lines for developers. @default { gate: "default" } */
  readonly telemetry?: TelemetryOptions | undefined;
}

/** The options of a gate after they were checked, with defaults. */
export interface ResolvedOptions<Raw> {
  /** Undefined: in-process stores. */
  readonly redis: ResolvedRedis | undefined;
  /** Was option `redis` given? */
  readonly storeChosen: boolean;
  readonly prefix: string;
  readonly service: ResolvedService;
  readonly keySecret: string;
  /** Was it given? The default is public. */
  readonly keySecretChosen: boolean;
  readonly auth: ResolvedAuth<Raw> | undefined;
  readonly tokens: ResolvedTokens | undefined;
  readonly revocation: ResolvedRevocation | undefined;
  readonly limits: readonly Policy<Raw>[];
  readonly cache: ResolvedCache | undefined;
  readonly responses: ResolvedResponses;
  readonly connections: ResolvedConnections;
  readonly headers: RateLimitFormat;
  readonly deadlineMs: number;
  readonly connectDeadlineMs: number;
  readonly ipv6PrefixLength: number;
  readonly instances: number;
  readonly publicUrl: string | undefined;
  readonly problemTypes: string | undefined;
  readonly property: string;
  readonly logger: Logger;
  readonly audit: AuditListener | undefined;
  readonly telemetry: ResolvedTelemetry;
}

const known = [
  ...[
    "redis",
    "prefix",
    "keySecret",
    "auth",
    "revocation",
    "limits",
    "cache",
    "headers",
    "deadline",
    "connectDeadline",
  ],
  ...[
    "ipv6PrefixLength",
    "instances",
    "publicUrl",
    "property",
    "logger",
    "tokens",
    "service",
    "connections",
    "responses",
    "audit",
    "telemetry",
    "problemTypes",
  ],
];

/**
 * Checks every option and fills in the defaults; it starts nothing. Throws a TypeError or RangeError that says what to write
 * instead.
 */
export function resolveOptions<Raw>(options: PortcullisOptions<Raw>): ResolvedOptions<Raw> {
  refuseRequest("portcullis()", options, "const gate = portcullis({ ... }) once, then app.use(gate.guard())");
  checkObject("options", options, known, '{ redis: "redis://host:6379", auth: { ... }, limits: [ ... ] }');
  const {
    prefix = "",
    keySecret = "portcullis",
    revocation = {},
    limits = [],
    cache = {},
    headers = "draft-8",
  } = options;
  const { deadline = 50, connectDeadline = 500, ipv6PrefixLength = 56, instances = 1, property = "auth" } = options;
  if (prefix !== "") checkPrefix(prefix);
  if (options.service !== undefined) checkService(options.service);
  checkString("keySecret", keySecret);
  const logger = options.logger === undefined ? createDefaultLogger() : resolveLogger(options.logger);
  if (options.audit !== undefined) checkFunction("audit", options.audit);
  if (options.problemTypes !== undefined) checkProblemTypes(options.problemTypes);
  if (headers !== false) checkOneOf("headers", headers, rateLimitFormats, "false");
  checkInteger("ipv6PrefixLength", ipv6PrefixLength, 32, 128);
  checkInteger("instances", instances, 1, 10_000);
  checkProperty(property);
  const tokens = options.tokens === undefined ? undefined : resolveTokens(options.tokens, options.auth);
  if (tokens !== undefined && revocation === false)
    throw optionError("revocation", "must not be false with tokens: sessions end by revocation");
  if (tokens !== undefined && revocation !== false && Array.isArray(revocation.orgClaim))
    throw optionError("revocation.orgClaim", "must be the name of a claim with tokens, which write this claim");
  const given = tokens === undefined ? options.auth : acceptOwnTokens(options.auth, tokens);
  const publicUrl = options.publicUrl === undefined ? undefined : resolvePublicUrl(options.publicUrl);
  const rest = {
    redis: resolveRedis(options.redis),
    storeChosen: options.redis !== undefined,
    prefix,
    keySecret,
    keySecretChosen: options.keySecret !== undefined,
    revocation: revocation === false ? undefined : resolveRevocation(revocation),
    limits: resolveLimits(limits),
    cache: cache === false ? undefined : resolveCache(cache),
    responses: resolveResponses(options.responses ?? {}),
    connections: resolveConnections(options.connections ?? {}),
    headers,
    deadlineMs: durationMs("deadline", deadline, 10_000),
    connectDeadlineMs: durationMs("connectDeadline", connectDeadline, 10_000),
    ipv6PrefixLength,
    instances,
    publicUrl,
    problemTypes: options.problemTypes,
    property,
    logger,
    audit: options.audit,
    telemetry: resolveTelemetry(options.telemetry ?? {}, options.service),
    tokens,
  };
  const auth =
    given === undefined
      ? undefined
      : resolveAuth(given, {
          revocation: revocation !== false,
          publicUrl,
          keySecret: options.keySecret,
          ownIssuer: tokens?.issuer,
          maxIssuedSeconds: tokens === undefined ? 0 : tokens.idleMs / 1000,
        });
  return { ...rest, auth, service: resolveService(options.service, auth) };
}

function resolvePublicUrl(text: unknown): string {
  checkString("publicUrl", text);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !isTrustworthyUrl(text) || /[?#]/.test(text)) {
    throw optionError("publicUrl", 'must be an https URL such as "https://api.example.com" (http only on localhost)');
  }
  return `${url.origin}${url.pathname.replace(/\/$/, "")}`;
}

function checkPrefix(prefix: unknown): void {
  checkString("prefix", prefix);
  if (!/^[A-Za-z0-9_.:-]{1,64}$/.test(prefix)) {
    throw optionError("prefix", "must be up to 64 letters, digits, _, -, . and :");
  }
}

/** Names that have another meaning on a request or on every object. */
const takenProperties = new Set(["cache", "quotas", "__proto__", "constructor", "prototype", "hasOwnProperty"]);

function checkProperty(property: unknown): void {
  checkString("property", property);
  if (!/^[A-Za-z_$][\w$]*$/.test(property) || takenProperties.has(property)) {
    throw optionError("property", 'must be a name that is free on the request, such as "auth" or "gate"');
  }
}

function resolveLogger(logger: unknown): Logger {
  const { debug, warn } = (logger ?? {}) as Partial<Logger>;
  if (typeof debug !== "function" || typeof warn !== "function") {
    throw optionError("logger", "must have the methods debug(fields, message) and warn(fields, message)");
  }
  return createSafeLogger(logger as Logger);
}
