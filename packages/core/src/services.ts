import type { Auth } from "./auth/claims.js";
import { carriesToken } from "./auth/credentials.js";
import { claimAt, identifyingClaim, notIdentifying, showClaim } from "./auth/identifying-claim.js";
import type { TokenRefusal } from "./auth/token-refusal.js";
import { refuseClaim, refuseToken } from "./auth/token-refusal.js";
import type { Prepared } from "./auth/verifier.js";
import { Verifier, IssuerVerifier } from "./auth/verifier.js";
import { Idempotency } from "./coordination/idempotency.js";
import { CacheService } from "./cache/cache-service.js";
import { LeaderService } from "./coordination/leader.js";
import { LockService } from "./coordination/locks.js";
import { OneTimeService } from "./coordination/one-time.js";
import type { OneTimeValues } from "./coordination/one-time.js";
import type { AuthorizeServices } from "./guard/authorize.js";
import type { GuardServices } from "./guard/guard.js";
import { Explainer } from "./guard/explain.js";
import type { ApplyProblemTypes } from "./http/problem-types.js";
import { createProblemTypes } from "./http/problem-types.js";
import { createChallenges } from "./guard/challenges.js";
import { Degradation } from "./guard/degradation.js";
import { ProofOfPossession } from "./guard/proof-of-possession.js";
import type { LoginServices } from "./login/throttle.js";
import type { OpenedAuth } from "./auth/issuers.js";
import type { DenialDetail } from "./http/denial-detail.js";
import type { ResolvedOptions } from "./options.js";
import { ConnectionService } from "./realtime/connections.js";
import { EventService } from "./realtime/events.js";
import { TokenWatch } from "./realtime/token-watch.js";
import { optionError } from "./lib/validate.js";
import type { Administration } from "./limits/administration.js";
import type { ConsumptionFactory } from "./limits/consumption.js";
import { administerQuotas } from "./limits/administration.js";
import type { Policy } from "./limits/policy.js";
import { RepeatedNameWarning } from "./limits/repeated-names.js";
import { UnguardedWarning } from "./request/unguarded.js";
import { Settlement } from "./limits/settlement.js";
import { CutoffRules } from "./revocation/cutoffs.js";
import { OwnCheck } from "./revocation/own-check.js";
import type { Revocations } from "./revocation/revocations.js";
import { RevocationService } from "./revocation/revocations.js";
import { ChannelService } from "./realtime/channels.js";
import type { SessionServices } from "./sessions/session-services.js";
import { createSessions } from "./sessions/session-services.js";
import { SessionEvents } from "./sessions/events.js";
import { StoreFault } from "./store/ports/fault.js";
import { clockDiffers } from "./store/ports/health.js";
import { marginSecondsFor } from "./store/ports/revocation.js";
import { DroppedMembersWarning } from "./telemetry/dropped-members.js";
import type { AuditTrail } from "./telemetry/audit.js";
import type { Telemetry } from "./telemetry/telemetry.js";
import type { Keyspace } from "./store/keyspace.js";
import { MemoryLoginStore } from "./store/memory/logins.js";
import type { Stores } from "./store/stores.js";

/** The services of a gate: for guards, and for the calls of the gate. */
export interface GateServices<Raw> extends GuardServices<Raw>, SessionServices, AuthorizeServices {
  readonly verifier: Verifier | undefined;
  readonly consumptions: ConsumptionFactory<Raw>;
  readonly settlement: Settlement<Raw>;
  readonly telemetry: Telemetry;
  readonly degradation: Degradation;
  readonly revocations: RevocationService | undefined;
  readonly proofOfPossession: ProofOfPossession | undefined;
  /** Undefined for a gate without `auth`. */
  readonly explainer: Explainer<Raw> | undefined;
  /** Rejects every call if revocation is off. */
  readonly revocationsOrMissing: Revocations;
  readonly logins: LoginServices;
  readonly administration: Administration<Raw>;
  readonly locks: LockService;
  readonly leaders: LeaderService;
  readonly oneTime: OneTimeValues;
  readonly idempotency: Idempotency;
  readonly connections: ConnectionService;
  readonly channels: ChannelService;
  readonly events: EventService<Raw>;
  readonly problemTypes: ApplyProblemTypes;
}

/** The parts that services are built on. */
export interface Foundation<Raw> {
  /** Options of verification with open keys; undefined for a gate without `auth`. */
  readonly auth: OpenedAuth<Raw> | undefined;
  readonly stores: Stores;
  readonly keyspace: Keyspace;
  readonly telemetry: Telemetry;
  readonly audit: AuditTrail;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Called at each use of a part of coordination. */
  readonly noteCoordination: (part?: "one-time") => void;
  /** Called at each definition of a channel, and at each use of a reliable one. */
  readonly noteChannel: (use: "defined" | "reliable") => void;
  /** Called with limits that become known by name. */
  readonly onRegister: (policies: readonly Policy<Raw>[]) => void;
}

/** Creates the services of a gate from its options and stores. */
export function createServices<Raw>(
  resolved: ResolvedOptions<Raw>,
  { auth, stores, keyspace, telemetry, audit, now, noteCoordination, noteChannel, onRegister }: Foundation<Raw>,
): GateServices<Raw> {
  const { instances, ipv6PrefixLength, revocation, headers, logger, tokens } = resolved;
  const challenges = createChallenges({ realm: auth?.realm, dpop: auth?.dpop });
  const problemTypes = createProblemTypes(resolved.problemTypes);
  const events = new SessionEvents(stores.channels, keyspace.issuers, logger, audit);
  const cutoffs =
    auth === undefined || revocation === undefined
      ? undefined
      : new CutoffRules({
          maxLifetimeSeconds: auth.maxLifetimeSeconds,
          marginSeconds: marginSecondsFor(auth.toleranceSeconds),
          cutoffMarginSeconds: revocation.cutoffMarginSeconds ?? auth.toleranceSeconds,
          ownIssuer: tokens?.issuer,
        });
  const revocations =
    auth === undefined || revocation === undefined || cutoffs === undefined
      ? undefined
      : new RevocationService({
          store: stores.revocations,
          decisions: stores.decisions,
          keyspace,
          issuers: auth.scope,
          marginSeconds: marginSecondsFor(auth.toleranceSeconds),
          cutoffs,
          ...{ events, audit },
          orgClaim: revocation.orgClaim,
          now,
        });

  const ownCheck =
    revocation?.isRevoked === undefined || revocations === undefined
      ? undefined
      : new OwnCheck({
          isRevoked: revocation.isRevoked,
          deadlineMs: resolved.deadlineMs,
          forget: (token) => revocations.forget(token),
          logger,
        });

  function openVerifier({ issuers, scope, byIssuer, maxTokenLength }: OpenedAuth<Raw>): Verifier {
    const verifiers = issuers.map((issuer) => new IssuerVerifier(issuer, scope, now));
    // Longer tokens take more memory each, not in total.
    const cacheSize = Math.floor(20_000 / Math.max(1, maxTokenLength / 8192));
    return new Verifier({ issuers: verifiers, byIssuer, cacheSize, prepare });
  }

  /** Identifying claims of every token, with the refusal of a value that identifies nobody. */
  const identifying = [
    {
      claim: revocation?.orgClaim,
      cause: "the claim of revocation.orgClaim is neither text nor a safe integer",
    },
    {
      claim: resolved.cache?.tenantClaim,
      cause: "the claim of cache.tenantClaim is neither text nor a safe integer",
    },
  ];

  function prepare(facts: Auth): Prepared | TokenRefusal | Promise<Prepared | TokenRefusal> {
    for (const { claim, cause } of identifying)
      if (claim !== undefined && identifyingClaim(facts.claims, claim) === notIdentifying)
        return refuseClaim(cause, showClaim(claim), claimAt(facts.claims, claim), "text or an integer");
    const partition = facts.principal === "" ? "" : keyspace.userPartition(facts.principal);
    const question = revocations?.questionOrFault(facts);
    const prepared = { partition, question, lasts: !(question instanceof StoreFault) && !keyspace.isPresumed };
    if (ownCheck === undefined || question === undefined) return prepared;
    // Without a question nobody asks the store, but the records of the application may be there.
    if (question instanceof StoreFault)
      return ownCheck
        .ask(facts)
        .then((revoked) => (revoked === true ? refuseToken("the token is revoked", byOwnCheck) : prepared));
    ownCheck.note(question, facts);
    return prepared;
  }

  const unguarded = new UnguardedWarning<Raw>(logger, auth && carriesToken(auth.sources));
  const { decisions: store, leasedDecisions: leasedStore, limitOverrides: records } = stores;
  const shared = resolved.redis !== undefined;
  const verifies = auth !== undefined;
  const administration = administerQuotas<Raw>({
    store: leasedStore,
    records,
    shared,
    keyspace,
    ipv6PrefixLength,
    verifies,
    ...{ logger, audit, unguarded, onRegister },
  });
  administration.quotas.register(resolved.limits);

  const { locks: lockStore, channels } = stores;
  const locks = new LockService({
    store: lockStore,
    channels,
    keys: keyspace,
    telemetry,
    onFirstUse: () => noteCoordination(),
  });

  const droppedMembers = new DroppedMembersWarning(logger);
  const verifier = auth === undefined ? undefined : openVerifier(auth);

  /** The time by which open connections end with their tokens: a clock that is known to be wrong ends none, and keeps none. */
  function connectionNow(): number {
    return clockDiffers(stores) ? stores.cache.now() : now();
  }

  const connections = new ConnectionService({
    ...resolved.connections,
    issuers: auth?.scope,
    endOf: (one) => verifier?.endOf(one) ?? one.expiresAt,
    watchTokens:
      revocations === undefined
        ? undefined
        : (tokens) =>
            new TokenWatch({
              ...{ tokens, records: stores.revocationRecords, events, revocations, keys: keyspace },
              checkEveryMs: resolved.connections.checkEveryMs,
            }),
    refuse: (cause) => challenges.tokenInvalid(cause),
    ...{ telemetry, logger, problemTypes, now: connectionNow },
  });

  const services: Omit<GateServices<Raw>, "explainer"> = {
    store: ownCheck?.beside(store) ?? store,
    leasedStore: ownCheck?.beside(leasedStore) ?? leasedStore,
    health: stores,
    administration,
    verifier,
    connections,
    events: new EventService<Raw>({
      ...{ connections, challenges, unguarded, sources: auth?.sources ?? [], logger },
      now: connectionNow,
    }),
    sources: auth?.sources ?? [],
    proofOfPossession:
      auth?.dpop === undefined
        ? undefined
        : new ProofOfPossession({
            dpop: auth.dpop,
            toleranceSeconds: auth.toleranceSeconds,
            health: stores,
            ...{ keys: keyspace, challenges, now },
          }),
    readCertificate: auth?.readCertificate,
    revocations,
    sharedKeys: keyspace,
    ...createSessions(resolved, {
      ...{ stores, keys: keyspace, events, telemetry, audit, revocations, cutoffs, problemTypes, now },
    }),
    revocationsOrMissing: revocations ?? missingRevocations,
    logins: {
      store: stores.logins,
      storeFailure: () => stores.cause(),
      local: new MemoryLoginStore(),
      ...{ keys: keyspace, telemetry, audit, logger, ipv6PrefixLength, instances, now },
      throttles: new Map(),
    },
    oneTime: new OneTimeService({
      ...{ store: stores.oneTime, keys: keyspace, telemetry },
      onUse: () => noteCoordination("one-time"),
      onDropped: () => droppedMembers.note("the data of a one-time value"),
    }),
    idempotency: new Idempotency({
      store: stores.idempotency,
      storeFailure: () => stores.cause(),
      ...{ keys: keyspace, telemetry, refuseAnonymous: (detail) => challenges.credentialsRequired(detail), unguarded },
    }),
    channels: new ChannelService({
      ...{ channels, log: stores.eventLog, keys: keyspace, telemetry, logger },
      onUse: noteChannel,
      onDropped: () => droppedMembers.note("a message of a channel"),
    }),
    consumptions: administration.consumptions,
    repeatedNames: new RepeatedNameWarning(logger),
    locks,
    leaders: new LeaderService({ locks, telemetry, logger }),
    corrections: stores.corrections,
    settlement: new Settlement({ logger }),
    telemetry,
    cache:
      resolved.cache === undefined
        ? undefined
        : new CacheService({
            store: stores.cache,
            signals: stores.cacheSignals,
            keys: keyspace,
            options: resolved.cache,
            telemetry,
            logger,
            refuse: (cause) => problemTypes(challenges.tokenInvalid(cause)),
            onDropped: () => droppedMembers.note("a cached value"),
          }),
    ...{ challenges, unguarded, problemTypes },
    degradation: new Degradation({
      revocations,
      revocationPolicy: revocation?.onStoreError ?? "deny",
      challenges,
      instances,
      telemetry,
      storeFailure: () => stores.cause(),
      now,
    }),
    headers,
    now,
  };
  if (auth === undefined || verifier === undefined) return { ...services, explainer: undefined };
  const explainer = new Explainer<Raw>({
    ...{ guard: services, verifier, maxTokenLength: auth.maxTokenLength, limits: resolved.limits, now },
    padded: auth.sources.some((source) => source.kind === "function" && source.padded === true),
    policies: () => administration.quotas.policies(),
    ...{
      consumptions: administration.previews,
      inspection: stores.inspection,
      sessions: stores.sessions,
      keys: keyspace,
    },
    ownCheck: ownCheck === undefined ? undefined : (asked) => ownCheck.previewBeside(asked),
  });
  return { ...services, explainer };
}

const byOwnCheck = (): DenialDetail => ({ reason: "the function revocation.isRevoked" });

function refuseToRevoke(): Promise<never> {
  return Promise.reject(
    optionError("revocation", "is false for this gate, so it can neither revoke tokens nor check them"),
  );
}

const missingRevocations: Revocations = {
  revoke: refuseToRevoke,
  revokeSubject: refuseToRevoke,
  isRevoked: refuseToRevoke,
};
