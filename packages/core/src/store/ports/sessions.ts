/**
 * What sessions ask of a store: one record for each session, kept together for each subject, and the sets of tokens
 * that other services share. Every method rejects with a StoreFault if the store cannot do it.
 */

/** The keys of one subject: `index`, `records`, `ended` and `tokens` share a slot, `shared` has one of its own. */
export interface SubjectKeys {
  /** The sessions by the time they end. */
  readonly index: string;
  /** One record for each session. */
  readonly records: string;
  /** When all sessions were ended last: a sign-in must be later. */
  readonly ended: string;
  /** The tokens in `shared` by the time they expire, so that dead ones can be taken out. */
  readonly tokens: string;
  /** `auth:user_tokens:<subject>`: the jti of all tokens, as other services know them. */
  readonly shared: string;
  /** What the key of a revoked token of theirs begins with: the jti follows. */
  readonly revoked: string;
}

/** The keys of one organisation: `members` and `tokens` share a slot, `shared` has one of its own. */
export interface GroupKeys {
  /** Which sessions of which subjects belong to it, by the time they end. */
  readonly members: string;
  readonly tokens: string;
  /** `auth:org_tokens:<org>` */
  readonly shared: string;
  /** What the key of a revoked token of theirs begins with: the jti follows. */
  readonly revoked: string;
}

/** The store's clock and what cut-offs it knows, read together. */
export interface ClockReading {
  /** Unix milliseconds. */
  readonly ms: number;
  /** Unix seconds, in the order of the keys. */
  readonly cutoffs: readonly (number | undefined)[];
}

/** A token that a session has issued and that may still be in use. */
export interface LiveToken {
  readonly jti: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** What is kept of a session. Times are unix milliseconds, by the store's clock. */
export interface SessionRecord {
  readonly createdAt: number;
  /** Of the last refresh. */
  readonly seenAt: number;
  /** Whatever happens in between. */
  readonly endsAt: number;
  /** Unless it is refreshed before. */
  readonly idleEndsAt: number;
  /** `iat` of the newest tokens, in unix seconds. */
  readonly issuedAt: number;
  /** How often the refresh token was replaced. */
  readonly generation: number;
  /** The jti of the refresh token that is good now, and of the one before. */
  readonly current: string;
  readonly previous?: string | undefined;
  /** Access tokens that may be alive, the newest last. */
  readonly access: readonly LiveToken[];
  readonly org?: string | undefined;
  /** The key of the organisation's shared set. */
  readonly orgTokens?: string | undefined;
  readonly ip?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly label?: string | undefined;
  /** Claims and scopes of its access tokens, as JSON. */
  readonly grant: string;
}

export interface StoredSession {
  readonly id: string;
  readonly record: SessionRecord;
}

export interface Creation {
  readonly id: string;
  readonly record: SessionRecord;
  /** Sessions issued at or before it are over. Unix seconds. */
  readonly cutoff: number | undefined;
  readonly maxSessions: number | undefined;
  readonly onLimit: "refuse" | "evictOldest";
  /** By the store's clock, in unix milliseconds: what arrives later is not done, since nobody waits for it any more. */
  readonly notAfter: number;
}

export type Created =
  /** With the ids of sessions that had to go. */
  | { readonly outcome: "created"; readonly evicted: readonly string[] }
  /** All sessions were ended in this second or later: the sign-in must have a later `iat`. Unix seconds. */
  | { readonly outcome: "behind"; readonly ended: number }
  | { readonly outcome: "full" }
  | { readonly outcome: "late" };

export interface Rotation {
  readonly id: string;
  /** The jti of the refresh token that was presented, and its generation. */
  readonly presented: string;
  readonly generation: number;
  /** The jti of the refresh token that follows, and of the access token that goes with it. */
  readonly successor: string;
  readonly access: string;
  /** Of both, in unix seconds. */
  readonly issuedAt: number;
  readonly accessSeconds: number;
  readonly idleMs: number;
  readonly overlapMs: number;
  /** Most access tokens of one session that live at once. */
  readonly maxAccess: number;
  readonly notAfter: number;
  /** What has changed about the session. */
  readonly changes: Partial<Pick<SessionRecord, "ip" | "userAgent" | "label" | "grant">>;
}

export type Rotated =
  | {
      readonly outcome: "rotated" | "repeated";
      readonly record: SessionRecord;
      /** jti of access tokens that are alive no more, because there were too many. */
      readonly surplus: readonly string[];
    }
  /** The token was replaced before: the session is over, access tokens included. */
  | { readonly outcome: "reused" }
  | { readonly outcome: "missing" }
  | { readonly outcome: "late" };

/** Which sessions of a subject. */
export type Selection =
  | { readonly kind: "all"; readonly endedAt: number }
  | { readonly kind: "only"; readonly id: string }
  /** `jti` is of the token that asks: of a session that another service keeps, nothing else is known here. */
  | { readonly kind: "except"; readonly id: string; readonly jti?: string | undefined };

export interface TrackedTokens {
  readonly add: readonly LiveToken[];
  /** jti of tokens that nobody may use any more. */
  readonly drop: readonly string[];
}

/** Which session of whom is a member of an organisation. */
export interface Membership {
  readonly id: string;
  readonly principal: string;
}

export interface SessionStore {
  /** The clock and the cut-offs under these keys, of which there is at least one. */
  moment(cutoffKeys: readonly string[]): Promise<ClockReading>;
  /** Adds a session, if the limit and the last ending allow it. */
  create(keys: SubjectKeys, creation: Creation): Promise<Created>;
  /** Replaces a refresh token, once. */
  rotate(keys: SubjectKeys, rotation: Rotation): Promise<Rotated>;
  /** Live sessions, those seen last first. */
  list(keys: SubjectKeys, offset: number, count: number): Promise<readonly StoredSession[]>;
  /** The ids of the sessions that there are records of: the live ones, and perhaps some that have ended. */
  ids(keys: SubjectKeys): Promise<readonly string[]>;
  /** Ends sessions with all their tokens, and with `all` and `except` every other token that the shared set names. */
  end(keys: SubjectKeys, selection: Selection): Promise<readonly string[]>;
  /** Notes tokens of a subject in the set that other services share, and takes dead ones out. */
  trackSubject(keys: SubjectKeys, tokens: TrackedTokens): Promise<void>;
  /** The same for an organisation; the member is kept until it ends (unix milliseconds). */
  trackGroup(keys: GroupKeys, tokens: TrackedTokens, member: Membership, endsAt: number): Promise<void>;
  /**
   * Revokes every token that an organisation's shared set names, and resolves to its sessions, which are left to end.
   */
  endGroup(keys: GroupKeys): Promise<readonly Membership[]>;
}
