import { adjustScript } from "./adjust.js";
import { decideScript } from "./decide.js";
import { cacheScript } from "./cache.js";
import { cutOffScript, readRecordsScript, revokeScript } from "./revocation.js";
import { claimScript, completeScript, releaseScript } from "./idempotency.js";
import { leaseScript } from "./lease.js";
import { extendLocksScript, noteWithdrawalScript, releaseLocksScript, takeLocksScript } from "./locks.js";
import { loginChargeScript, loginSettleScript, readAccountScript, readAddressScript } from "./logins.js";
import { countLiveScript, listedSessionScript, readLiveScript } from "./live-sessions.js";
import { markerScript, sharedIssuerScript } from "./markers.js";
import { inspectCounterScript } from "./inspection.js";
import { appendEventScript, beginLogScript, readEventsScript } from "./event-log.js";
import type { Script } from "./lua.js";
import { consumeOneTimeScript, issueOneTimeScript, revokeOneTimeScript } from "./one-time.js";
import {
  createSessionScript,
  endSessionsScript,
  listSessionsScript,
  clockReadingScript,
  removeSessionsScript,
  rotateSessionScript,
} from "./sessions.js";
import { endGroupScript, joinTokensScript, listMembersScript, noteTokensScript } from "./token-sets.js";

/** All scripts. They are loaded at each connection. */
export const scripts: readonly Script[] = [
  ...[adjustScript, decideScript, cacheScript, cutOffScript, leaseScript, markerScript, revokeScript],
  ...[readRecordsScript, inspectCounterScript],
  ...[createSessionScript, endSessionsScript, listSessionsScript, clockReadingScript, removeSessionsScript],
  ...[countLiveScript, readLiveScript, listedSessionScript],
  ...[rotateSessionScript, endGroupScript, joinTokensScript, listMembersScript, noteTokensScript],
  ...[loginChargeScript, loginSettleScript, readAccountScript, readAddressScript, sharedIssuerScript],
  ...[takeLocksScript, extendLocksScript, releaseLocksScript, noteWithdrawalScript],
  ...[consumeOneTimeScript, issueOneTimeScript, revokeOneTimeScript],
  ...[claimScript, completeScript, releaseScript],
  ...[appendEventScript, beginLogScript, readEventsScript],
];
