import type { Keyspace } from "./keyspace.js";

/** A key of Redis without its identifiers, for people. */
export interface KeyName {
  /** The family of the key, such as `auth:cutoff`; "other" for keys that are not asked for by requests. */
  readonly kind: string;
  /** A keyed digest of the whole key: the same key has the same digest. */
  readonly digest: string;
}

/** The families of the keys that requests ask for, before their identifiers. The prefix of the gate stands before them. */
const families = new RegExp(
  "(?:auth:(?:revoked|cutoff)|portcullis:[0-9]+:" +
    "(?:revoked:(?:jti|input)|cutoff:(?:subject|sid|org)|quota-block|quota-[a-z-]+|quota))(?=[:-])",
);

export function nameKey(key: string, keyspace: Pick<Keyspace, "digest">): KeyName {
  return { kind: families.exec(key)?.[0] ?? "other", digest: keyspace.digest(key) };
}
