import type { InspectedClaim } from "../auth/inspection.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { DenialDetail } from "../http/denial-detail.js";
import type { AppliedPolicy } from "../limits/policy.js";
import type { Keyspace } from "../store/keyspace.js";
import type { KeyName } from "../store/key-names.js";
import { nameKey } from "../store/key-names.js";
import type { CounterState } from "../store/ports/decisions.js";
import { isCutOff, refuses } from "../store/ports/decisions.js";
import { StoreFault } from "../store/ports/fault.js";
import type { FoundRecords } from "../store/ports/revocation.js";
import type { SessionStore } from "../store/ports/sessions.js";
import type { ExplainedCheck } from "./explanation.js";

/** The checks of the claims. `wrong` is the claim or header parameter that the refusal names. */
export function checksOfClaims(
  claims: readonly InspectedClaim[],
  wrong: string | undefined,
  detail: DenialDetail | undefined,
  isVerified: boolean,
): ExplainedCheck[] {
  const others = isVerified ? "passed" : "unknown";
  const checks = claims.map(({ name, expected, found }): ExplainedCheck => ({
    ...{ part: "claim", name, outcome: name === wrong ? "failed" : others },
    expected: (name === wrong ? detail?.expected : undefined) ?? expected,
    found,
  }));
  if (wrong === undefined || checks.some(({ name }) => name === wrong)) return checks;
  return [
    ...checks,
    { part: "claim", name: wrong, outcome: "failed", expected: detail?.expected, found: detail?.found },
  ];
}

/** The checks of the revocation record and the cut-offs. */
export function checksOfRecords(
  { question }: VerifiedToken,
  records: FoundRecords | undefined,
  keys: Keyspace,
): ExplainedCheck[] {
  if (question === undefined)
    return [{ part: "record", name: "token", outcome: "skipped", found: "revocation is off" }];
  if (question instanceof StoreFault)
    return [{ part: "record", name: "token", outcome: "unknown", found: question.kind }];
  const { revokedKey, cutoffKeys, issuedAt } = question;
  const { found, fault } = records ?? { found: new Map<string, number | undefined>(), fault: undefined };
  const silent = records === undefined ? "not asked" : fault?.kind;
  const nothing = { outcome: silent === undefined ? "passed" : "unknown", found: silent ?? "none" } as const;
  const record: ExplainedCheck = {
    ...{ part: "record", name: "token", expected: "none", key: textOfKey(nameKey(revokedKey, keys)) },
    ...(found.has(revokedKey) ? ({ outcome: "failed", found: "a record: the token is revoked" } as const) : nothing),
  };
  const cutoffs = cutoffKeys.map((key): ExplainedCheck => {
    const name = nameKey(key, keys);
    const common = { part: "cutoff", name: ownerOf(name), key: textOfKey(name) } as const;
    const expected =
      issuedAt === undefined ? "none, since the token has no iat" : `none, or before ${timeOf(issuedAt)}`;
    if (!found.has(key)) return { ...common, expected, ...nothing };
    const cutoff = found.get(key);
    if (cutoff === undefined) return { ...common, expected, outcome: "unknown", found: "a value that is no cut-off" };
    return { ...common, expected, outcome: isCutOff(question, cutoff) ? "failed" : "passed", found: timeOf(cutoff) };
  });
  return [record, ...cutoffs];
}

function ownerOf({ kind }: KeyName): string {
  return kind.endsWith(":sid") ? "session" : kind.endsWith(":org") ? "organisation" : "user";
}

export function textOfKey({ kind, digest }: KeyName): string {
  return `${kind} ${digest}`;
}

/** The record of the session of a token. The guard does not ask for it: cut-offs tell it that a session has ended. */
export async function describeSession(
  { auth }: VerifiedToken,
  sessions: SessionStore,
  keys: Keyspace,
): Promise<ExplainedCheck[]> {
  const { sessionId, principal } = auth;
  if (sessionId === undefined || principal === "") return [];
  const common = { part: "session", name: "record" } as const;
  try {
    const record = await sessions.find(keys.sessionsOf(principal), sessionId);
    if (record === undefined)
      return [{ ...common, outcome: "skipped", found: "none: it has ended, or another service keeps it" }];
    const { seenAt, idleEndsAt, generation } = record;
    const found = `seen ${timeOf(seenAt / 1000)}, ends ${timeOf(idleEndsAt / 1000)}, refreshed ${generation} times`;
    return [{ ...common, outcome: "passed", found }];
  } catch (error) {
    if (!(error instanceof StoreFault)) throw error;
    return [{ ...common, outcome: "unknown", found: error.kind }];
  }
}

/** A limit, as a request would find it now. `client` names the client as logs do. */
export function describeLimit<Raw>(
  part: "limit" | "other limit",
  { policy, consumption }: AppliedPolicy<Raw>,
  state: CounterState | StoreFault | undefined,
  key: KeyName,
  client: string,
): ExplainedCheck {
  const common = { part, name: policy.name, found: client, key: textOfKey(key) };
  if (state === undefined || state instanceof StoreFault)
    return { ...common, outcome: "unknown", found: state?.kind ?? "not asked" };
  const { limit, burst = limit, cost, windowSeconds, leased } = consumption;
  const blocked = state.blocked === true;
  const consumed = blocked ? undefined : state.consumed - cost;
  return {
    ...common,
    outcome: refuses(consumption, state) ? "failed" : "passed",
    limit: {
      ...{ limit, windowSeconds, consumed, blocked, shadow: policy.shadow, leased: leased === true },
      remaining: consumed === undefined ? 0 : Math.max(0, (limit === 0 ? 0 : burst) - consumed),
      resetSeconds: Math.max(0, Math.ceil(state.resetMs / 1000)),
    },
  };
}

/** Unix seconds as a date. */
function timeOf(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s` : date.toISOString();
}
