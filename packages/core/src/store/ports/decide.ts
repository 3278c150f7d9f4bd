import type { Answer, Question, ReplayCheck, TokenQuestion } from "./decisions.js";
import { isRefusedToken } from "./decisions.js";

/** The consumptions before the token, or those after it: they count all or none. */
export interface ConsumptionGroup {
  /** Looks at the counters. Does one of them refuse the request, also by a value that cannot be read? */
  refuses(): boolean;
  /** Counts the consumptions, and returns the counter states with them. */
  count(): Answer["beforeToken"];
  /** Counts nothing, since a counter of this group or of the other refuses the request. Returns the counter states. */
  leave(): Answer["beforeToken"];
  /**
   * Counts nothing, since the request was refused before this group. Returns the faults of parts that the store may
   * have counted nevertheless.
   */
  skip(): Answer["afterToken"];
}

/** The checks between the two groups. */
export interface TokenChecks {
  findRevocation(token: TokenQuestion): Pick<Answer, "revoked" | "cutoff">;
  /** Records the first use. Was there one before? */
  checkReplay(check: ReplayCheck): Answer["replayed"];
}

/** The checks of a token whose results are known already. */
export class KnownChecks implements TokenChecks {
  readonly #results: Pick<Answer, "revoked" | "cutoff" | "replayed">;

  constructor(results: Pick<Answer, "revoked" | "cutoff" | "replayed">) {
    this.#results = results;
  }

  findRevocation(): Pick<Answer, "revoked" | "cutoff"> {
    return this.#results;
  }

  checkReplay(): Answer["replayed"] {
    return this.#results.replayed;
  }
}

/**
 * The order of a decision: the consumptions before the token, the token, the replay check, the consumptions after the
 * token. The first refusal ends it. A refused request counts nowhere, with one exception: a revoked token and a replay
 * still count in the group before the token, so that bad tokens cost their sender something. A replay check that the
 * store could not make refuses too; an unknown revocation does so if the question says `refusesUnknown`.
 *
 * The script in store/redis/scripts/decide.ts is the only twin of this function: a change here is a change there.
 */
export function decide(
  question: Question,
  before: ConsumptionGroup,
  after: ConsumptionGroup,
  checks: TokenChecks,
): Answer {
  const { token, replayCheck } = question;
  if (before.refuses()) return { beforeToken: before.leave(), revoked: undefined, afterToken: after.skip() };
  const { revoked, cutoff } = token === undefined ? unasked : checks.findRevocation(token);
  const replayed = replayCheck === undefined || revoked === true ? undefined : checks.checkReplay(replayCheck);
  if (isRefusedToken(question, revoked, replayed)) {
    const afterToken = after.skip();
    return {
      beforeToken: before.count(),
      revoked,
      ...(cutoff === undefined ? {} : { cutoff }),
      replayed,
      afterToken,
    };
  }
  if (after.refuses()) return { beforeToken: before.leave(), revoked, replayed, afterToken: after.leave() };
  return { beforeToken: before.count(), revoked, replayed, afterToken: after.count() };
}

const unasked: Pick<Answer, "revoked" | "cutoff"> = { revoked: undefined };
