import type { Exchange } from "../http/exchange.js";
import { isWellKnownCredential } from "./credentials.js";
import { isTargetField } from "./target-uri.js";

/** The meanings of the name of a request field, as bits. */
const kinds = { target: 1, credential: 2, uncacheable: 4, condition: 8, control: 16 } as const;

/** Fields that ask for a part, a certain state, or another protocol (RFC 9111 3.3, RFC 9110 13.1 and 7.8). */
export const uncacheableFields: readonly string[] = ["range", "if-range", "if-match", "if-unmodified-since", "upgrade"];

/** The cache evaluates these preconditions; the handler does not see them, so that it makes a whole response. */
export const conditionalFields: readonly string[] = ["if-none-match", "if-modified-since"];

/** Fields about freshness (RFC 9111 5.2 and 5.4). */
const controlFields: readonly string[] = ["cache-control", "pragma"];

/** Clients choose the names, so the table is bounded. */
const maxKnown = 2000;
const maxNameLength = 64;
const known = new Map<string, number>();

/** Names are examined by large expressions, so the outcome is kept. */
function kindOf(name: string): number {
  const before = known.get(name);
  if (before !== undefined) return before;
  const isCredential = isWellKnownCredential(name);
  let kind = isCredential ? kinds.credential : 0;
  // X-Forwarded-User and similar fields are credentials: a response that may be shared is shared by all users.
  if (!isCredential && isTargetField(name)) kind |= kinds.target;
  if (uncacheableFields.includes(name)) kind |= kinds.uncacheable;
  if (conditionalFields.includes(name)) kind |= kinds.condition;
  if (controlFields.includes(name)) kind |= kinds.control;
  if (name.length > maxNameLength) return kind;
  if (known.size >= maxKnown) known.clear();
  known.set(name, kind);
  return kind;
}

/** The fields of a request that matter to the cache. */
export interface RequestFields {
  /** Names of fields that are part of every key, sorted. */
  readonly target: readonly string[];
  /** Names of fields with credentials by their names alone. */
  readonly credentials: readonly string[];
  readonly hasUncacheable: boolean;
  readonly hasConditions: boolean;
  readonly hasControl: boolean;
}

const none: readonly string[] = [];

export function readFields({ headerNames }: Pick<Exchange, "headerNames">): RequestFields {
  let all = 0;
  let target: string[] | undefined;
  let credentials: string[] | undefined;
  for (const name of headerNames) {
    const kind = kindOf(name);
    if (kind === 0) continue;
    all |= kind;
    if ((kind & kinds.target) !== 0) target = add(target, name);
    if ((kind & kinds.credential) !== 0) credentials = add(credentials, name);
  }
  return {
    target: target === undefined ? none : target.length === 1 ? target : target.sort(),
    credentials: credentials ?? none,
    hasUncacheable: (all & kinds.uncacheable) !== 0,
    hasConditions: (all & (kinds.condition | kinds.uncacheable)) !== 0,
    hasControl: (all & kinds.control) !== 0,
  };
}

function add(list: string[] | undefined, name: string): string[] {
  if (list === undefined) return [name];
  list.push(name);
  return list;
}
