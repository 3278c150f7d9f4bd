import { checkAudits, checkEverybodyIsAnswered, checkOwnValues, checkProcesses, checkStatuses } from "./answers.js";
import { checkNobodyWaitsInVain, checkNothingOld } from "./caches.js";
import {
  checkNoStreamBegins,
  checkNoStreamIsCutForNothing,
  checkStreamsAreCut,
  checkStreamsEndWithToken,
} from "./connections.js";
import {
  checkEverybodyCatchesUp,
  checkGapsAreTrue,
  checkLossesAreTold,
  checkNoEventIsLost,
  checkOrderAndOnce,
  checkOwnTopics,
} from "./events.js";
import { checkLimitsHold, checkNobodyIsRefused } from "./limits.js";
import { checkFences, checkHolds, checkLocksComeBack } from "./locks.js";
import { checkGuesses, checkNobodyIsLockedOut } from "./logins.js";
import { checkConsumedOnce, checkNoneIsLost, checkOnlyIssued } from "./one-time.js";
import { checkNoOrderTwice } from "./orders.js";
import { checkRevocation } from "./revocation.js";
import { checkRulesHold } from "./rules.js";
import { checkNobodyIsSignedOut, checkSuccessors } from "./sessions.js";
import { checkGiveBacks, checkSlotsComeBack, checkWorkIsBounded } from "./slots.js";
import type { Checker } from "./violation.js";

/** All properties that a run is judged by. */
export const checkers: readonly Checker[] = [
  checkRevocation,
  checkSuccessors,
  checkNobodyIsSignedOut,
  checkNobodyIsLockedOut,
  checkGuesses,
  checkLimitsHold,
  checkNobodyIsRefused,
  checkWorkIsBounded,
  checkSlotsComeBack,
  checkGiveBacks,
  checkNothingOld,
  checkNobodyWaitsInVain,
  checkFences,
  checkHolds,
  checkLocksComeBack,
  checkRulesHold,
  checkConsumedOnce,
  checkOnlyIssued,
  checkNoneIsLost,
  checkNoOrderTwice,
  checkNoEventIsLost,
  checkLossesAreTold,
  checkOrderAndOnce,
  checkGapsAreTrue,
  checkEverybodyCatchesUp,
  checkOwnTopics,
  checkStreamsAreCut,
  checkNoStreamBegins,
  checkStreamsEndWithToken,
  checkNoStreamIsCutForNothing,
  checkStatuses,
  checkEverybodyIsAnswered,
  checkOwnValues,
  checkProcesses,
  checkAudits,
];
