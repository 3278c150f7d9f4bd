import { Counter } from "./counters.js";
import type { Logger } from "./logger.js";
import type { Metric } from "./metrics.js";

/**
 * Names a client of a limit, as `gate.quotas` takes it: a key, parts of a key, or a partition. The value of a header may be a
 * secret, and is always named by its partition.
 */
type AuditedKey = unknown;

/**
 * A security event for an audit trail. It names users, sessions and clients, so that it is given to the option `audit` alone;
 * the metric `portcullis_security_events_total` counts every event by its type. It never contains a token, a password or a
 * secret.
 *
 * Every event has `at`, in unix milliseconds by the clock of this process. `principal` is the `auth.principal` of the user.
 */
export type AuditEvent = { readonly at: number } & (
  | {
      /** `tokens.issue()` has started a session. */
      readonly type: "sign_in";
      readonly principal: string;
      readonly sessionId: string;
      readonly org?: string | undefined;
      /** As `device.ip` said it. */
      readonly ip?: string | undefined;
    }
  | {
      /** `tokens.issue()` has refused a sign-in, since the user already has the maximum number of sessions. */
      readonly type: "sign_in_refused";
      readonly principal: string;
    }
  | {
      /** Sessions of a user have ended: by `sessions.revoke()`, `revokeOthers()`, a refresh token that was revoked, or a provider. */
      readonly type: "sign_out";
      /** Undefined for a session of an issuer that names no user. */
      readonly principal: string | undefined;
      readonly sessionIds: readonly string[];
    }
  | {
      /** All tokens of a user up to `cutoff` (unix seconds) were revoked: `sessions.revokeAll()`, `revocations.revokeSubject()`. */
      readonly type: "sign_out_everywhere";
      readonly principal: string;
      readonly cutoff: number;
    }
  | {
      /** All tokens of an organisation up to `cutoff` (unix seconds) were revoked: `sessions.revokeGroup()`. */
      readonly type: "organisation_signed_out";
      readonly org: string;
      readonly cutoff: number;
    }
  | {
      /** A newer session of the user took the place of these sessions. */
      readonly type: "session_evicted";
      readonly principal: string;
      readonly sessionIds: readonly string[];
    }
  | {
      /** A refresh token was used again after its successor: it may be stolen, and its session has ended. */
      readonly type: "refresh_reused";
      readonly principal: string;
      readonly sessionId: string;
    }
  | {
      /** A refresh token got its successor again after `tokens.overlap`, `afterMs` after its replacement. */
      readonly type: "refresh_repeated";
      readonly principal: string;
      readonly sessionId: string;
      readonly afterMs: number;
    }
  | {
      /** One token was revoked: `revocations.revoke()`, `sessions.revoke()`, `routes.revoke()`. */
      readonly type: "token_revoked";
      /** Undefined where the call did not name the user. */
      readonly principal: string | undefined;
      readonly sessionId: string | undefined;
      /** Claim `jti`; undefined for a token without one. */
      readonly jti: string | undefined;
    }
  | {
      /** A login route has found the password right or wrong, as the handler reports it or `outcome` decides. */
      readonly type: "login_succeeded" | "login_failed";
      readonly throttle: string;
      /** The name of the account in the request, normalized; the one in your database, if `succeed({ account })` says it. */
      readonly account: string;
      readonly ip: string | undefined;
    }
  | {
      /** A login throttle has refused an attempt to sign in. */
      readonly type: "login_locked";
      readonly throttle: string;
      /** The name of the account in the request, normalized. */
      readonly account: string;
      readonly ip: string | undefined;
      /** The limit that refused: of the address, of the account at this address ("pair"), or of the account. */
      readonly by: "address" | "pair" | "account";
      readonly retrySeconds: number;
    }
  | {
      /** An operator has reset attempts to sign in: `logins.unblock()`. */
      readonly type: "login_unblocked";
      readonly throttle: string;
      readonly account: string | undefined;
      readonly ip: string | undefined;
    }
  | {
      /** An operator has blocked a client of a limit: `quotas.block()`. */
      readonly type: "client_blocked";
      readonly policy: string;
      readonly key: AuditedKey;
      readonly forSeconds: number;
    }
  | {
      /** An operator has ended a block, or has reset a counter: `quotas.unblock()`, `quotas.reset()`. */
      readonly type: "client_unblocked" | "quota_reset";
      readonly policy: string;
      readonly key: AuditedKey;
    }
  | {
      /** An operator has overridden a limit: `quotas.setOverride()`. */
      readonly type: "limit_overridden";
      readonly policy: string;
      /** Undefined for all clients. */
      readonly key: AuditedKey;
      readonly limit: number | undefined;
      readonly windowSeconds: number | undefined;
      /** Undefined until it is cleared. */
      readonly forSeconds: number | undefined;
    }
  | {
      /** An operator has cleared an override: `quotas.clearOverride()`. */
      readonly type: "override_cleared";
      readonly policy: string;
      readonly key: AuditedKey;
    }
);

/** The names of security events. */
export type AuditEventType = AuditEvent["type"];

/** Receives security events. It is called at once, in the asynchronous context of the call or request that caused the event. */
export type AuditListener = (event: AuditEvent) => unknown;

/** An event before it has its time. */
export type AuditedFact = AuditEvent extends infer Event
  ? Event extends AuditEvent
    ? Omit<Event, "at">
    : never
  : never;

/** An event about a client of a limit, before it has its policy, and with the key as a call was given it. */
export type ClientFact<Key> = AuditedFact extends infer Fact
  ? Fact extends { readonly policy: string; readonly key: unknown }
    ? Omit<Fact, "policy" | "key"> & { readonly key: Key }
    : never
  : never;

/** A query of some libraries is one, and does nothing until somebody waits for it. */
function isThenable(told: unknown): told is PromiseLike<unknown> {
  return typeof (told as { then?: unknown } | null | undefined)?.then === "function";
}

/** Minimum time between two warnings about a listener that fails. */
const warningPauseMs = 60_000;

/** Counts security events, and tells them to the listener of the application. A listener never disturbs its caller. */
export class AuditTrail {
  readonly #listener: AuditListener | undefined;
  readonly #logger: Logger;
  readonly #events = new Counter("portcullis_security_events_total", "Security events, by type.");
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(listener: AuditListener | undefined, logger: Logger) {
    this.#listener = listener;
    this.#logger = logger;
  }

  /** Never throws. */
  record(fact: AuditedFact): void {
    this.#events.add({ type: fact.type });
    if (this.#listener === undefined) return;
    try {
      const told: unknown = this.#listener(Object.freeze({ ...fact, at: Date.now() }));
      if (isThenable(told)) Promise.resolve(told).catch(() => this.#warn());
    } catch {
      this.#warn();
    }
  }

  read(): Metric {
    return this.#events.read();
  }

  /** Without the error: its text may name a user. */
  #warn(): void {
    const now = performance.now();
    if (now - this.#warnedAt < warningPauseMs) return;
    this.#warnedAt = now;
    this.#logger.warn(
      {},
      "portcullis: the function audit threw or rejected; a security event may be missing from its trail",
    );
  }
}
