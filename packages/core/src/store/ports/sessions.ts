/**
 * The port of sessions: one record for each session, together for each subject, and the sets of tokens that other
 * services share. Every method rejects with a StoreFault if the store cannot answer.
 */

/**
 * The keys of one subject: `index`, `records`, `live`, `ended` and `tokens` share a hash slot; `shared` is in another. `live`
 * is shared by many subjects of one issuer.
 */
export interface SubjectKeys {
  /** The name of the subject, without its issuer. */
  readonly name: string;
  /** The sessions of many subjects and the names of these, by the time they end: to count and to list them. */
  readonly live: string;
  /** The sessions by the time they end. */
  readonly index: string;
  /** One record for each session. */
  readonly records: string;
  /** The last time when all sessions were ended. A sign-in must be later. */
  readonly ended: string;
  /** The tokens in `shared` by their expiry, so that expired ones can be removed. */
  readonly tokens: string;
  /** `auth:user_tokens:<subject>`: the jti of all tokens, which other services read. */
  readonly shared: string;
  /** The prefix of the records of revoked tokens; the jti follows. */
  readonly revoked: string;
}

/** The keys of one organisation: `members` and `tokens` share a hash slot; `shared` is in another. */
export interface GroupKeys {
  /** The sessions of the organisation and their subjects, by the time they end. */
  readonly members: string;
  readonly tokens: string;
  /** `auth:org_tokens:<org>` */
  readonly shared: string;
  /** The prefix of the records of revoked tokens; the jti follows. */
  readonly revoked: string;
}

/** The store's time and cut-offs, read together. */
export interface ClockReading {
  /** Unix milliseconds. */
  readonly ms: number;
  /** Unix seconds, in the order of the keys. */
  readonly cutoffs: readonly (number | undefined)[];
}

/** A token that a session has issued and that may not have expired. */
export interface LiveToken {
  readonly jti: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** The record of a session. Times are unix milliseconds, by the store's clock. */
export interface SessionRecord {
  readonly createdAt: number;
  /** The time of the last refresh. */
  readonly seenAt: number;
  /** The absolute end. */
  readonly endsAt: number;
  /** The end without another refresh. */
  readonly idleEndsAt: number;
  /** `iat` of the newest tokens, in unix seconds. */
  readonly issuedAt: number;
  /** The number of replacements of the refresh token. */
  readonly generation: number;
  /** The jti of the valid refresh token, and of the previous one. */
  readonly current: string;
  readonly previous?: string | undefined;
  /** Access tokens that may not have expired, the newest last. */
  readonly access: readonly LiveToken[];
  /** `iat` of the newest access token in unix seconds, where it was renewed without its refresh token. @default `issuedAt` */
  readonly accessIssuedAt?: number | undefined;
  /** The idle life of this session in ms. @default that of the rotation */
  readonly idleMs?: number | undefined;
  /** `false` if cookies of the session end with the browser. */
  readonly persistent?: boolean | undefined;
  readonly org?: string | undefined;
  /** The key of the shared set of the organisation. */
  readonly orgTokens?: string | undefined;
  readonly ip?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly label?: string | undefined;
  /** Claims and scopes of the access tokens, as JSON. */
  readonly grant: string;
}

export interface StoredSession {
  readonly id: string;
  readonly record: SessionRecord;
}

export interface Creation {
  readonly id: string;
  readonly record: SessionRecord;
  /** Sessions that were issued at or before this time have ended. Unix seconds. */
  readonly cutoff: number | undefined;
  readonly maxSessions: number | undefined;
  readonly onLimit: "refuse" | "evictOldest";
  /**
   * Deadline by the store's clock, in unix milliseconds: later the call does nothing, since its caller has given up.
   */
  readonly notAfter: number;
}

export type Created =
  /** `evicted` has the ids of sessions that were ended to make room. */
  | { readonly outcome: "created"; readonly evicted: readonly string[] }
  /** All sessions were ended at this time, in unix seconds. The sign-in must have a later `iat`. */
  | { readonly outcome: "behind"; readonly ended: number }
  | { readonly outcome: "full" }
  | { readonly outcome: "late" };

export interface Rotation {
  readonly id: string;
  /** The jti of the presented refresh token, and its generation. */
  readonly presented: string;
  readonly generation: number;
  /** The jti of the next refresh token, and of its access token. */
  readonly successor: string;
  readonly access: string;
  /** The `iat` of both tokens, in unix seconds. */
  readonly issuedAt: number;
  readonly accessSeconds: number;
  readonly idleMs: number;
  /** Time since its replacement in which a token gets the same successor again, while the successor was not presented. */
  readonly repeatMs: number;
  /** The jti of an access token for a repetition, if less than half of the life of the newest one is left. */
  readonly renewedAccess: string;
  /** Maximum number of live access tokens of one session. */
  readonly maxAccess: number;
  readonly notAfter: number;
  /** Changes of the record. */
  readonly changes: Partial<Pick<SessionRecord, "ip" | "userAgent" | "label" | "grant">>;
}

export type Rotated =
  | {
      readonly outcome: "rotated" | "repeated";
      readonly record: SessionRecord;
      /** The jti of access tokens that were revoked because there were too many. */
      readonly surplus: readonly string[];
    }
  /** The token was replaced before: the session has ended, with its access tokens. */
  | { readonly outcome: "reused" }
  | { readonly outcome: "missing" }
  | { readonly outcome: "late" };

/** A selection of the sessions of a subject. */
export type Selection =
  /** With `sparesLater`, sessions that began after `endedAt` go on. Without it they end too: clocks may go back. */
  | { readonly kind: "all"; readonly endedAt: number; readonly sparesLater?: boolean | undefined }
  | { readonly kind: "only"; readonly id: string }
  /** `jti` is the token of the caller: a session of another service is known by this token only. */
  | { readonly kind: "except"; readonly id: string; readonly jti?: string | undefined };

export interface TrackedTokens {
  readonly add: readonly LiveToken[];
  /** The jti of tokens that are no longer valid. */
  readonly drop: readonly string[];
}

/** A session that belongs to an organisation. */
export interface Membership {
  readonly id: string;
  readonly principal: string;
}

/** A subject that has live sessions. */
export interface LiveSubject {
  readonly name: string;
  readonly sessions: number;
}

/** A position in the list of live subjects: the number of the key, and the session that was read last there. */
export interface LivePosition {
  readonly key: number;
  /** The end of this session, in unix milliseconds. */
  readonly endsAt: number;
  /** Its id. Sessions that end at once are in the order of their ids. */
  readonly id: string;
  /** The time at which the list began, in unix milliseconds by the clock of the store. */
  readonly startedAt: number;
}

export interface LiveSubjects {
  readonly subjects: readonly LiveSubject[];
  /** Undefined at the end of the list. */
  readonly next: LivePosition | undefined;
}

export interface SessionStore {
  /** Reads the time and the cut-offs under these keys; at least one key is required. */
  readClock(cutoffKeys: readonly string[]): Promise<ClockReading>;
  /** Adds a session, if the limit and the last ending allow it. */
  create(keys: SubjectKeys, creation: Creation): Promise<Created>;
  /** Replaces a refresh token, once. */
  rotate(keys: SubjectKeys, rotation: Rotation): Promise<Rotated>;
  /** Resolves to live sessions, in descending order of their last refresh. */
  list(keys: SubjectKeys, offset: number, count: number): Promise<readonly StoredSession[]>;
  /** Resolves to the record of a session; undefined for one that has ended. */
  find(keys: SubjectKeys, id: string): Promise<SessionRecord | undefined>;
  /** Resolves to the number of live sessions under these keys ({@link SubjectKeys.live}). */
  count(live: readonly string[]): Promise<number>;
  /**
   * Lists subjects by their live sessions, in the order in which these end, key by key. It reads at most `count` sessions, so
   * that it may find fewer subjects. A subject is listed at the first of its sessions that was there when the list began: the
   * list has read no earlier one, whatever begins, is refreshed or ends meanwhile. `keysOf` makes the keys of a subject from
   * its name.
   */
  subjects(
    live: readonly string[],
    position: LivePosition | undefined,
    count: number,
    keysOf: (name: string) => SubjectKeys,
  ): Promise<LiveSubjects>;
  /** Resolves to the ids of all records: live sessions, and perhaps some that have ended. */
  ids(keys: SubjectKeys): Promise<readonly string[]>;
  /** Ends sessions with their tokens. With `all` and `except`, also revokes every other token in the shared set. */
  end(keys: SubjectKeys, selection: Selection): Promise<readonly string[]>;
  /** Adds tokens of a subject to the shared set, and removes expired ones. */
  trackSubject(keys: SubjectKeys, tokens: TrackedTokens): Promise<void>;
  /** The same for an organisation; the member is kept until it ends (unix milliseconds). */
  trackGroup(keys: GroupKeys, tokens: TrackedTokens, member: Membership, endsAt: number): Promise<void>;
  /**
   * Revokes every token in the shared set of an organisation. Resolves to its sessions, which the caller must end.
   */
  endGroup(keys: GroupKeys): Promise<readonly Membership[]>;
}
