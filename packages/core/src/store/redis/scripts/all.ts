import { adjustScript } from "./adjust.js";
import { decideScript } from "./decide.js";
import { cacheScript } from "./cache.js";
import { cutOffScript } from "./cut-off.js";
import { leaseScript } from "./lease.js";
import { loginChargeScript } from "./login-charge.js";
import { loginSettleScript } from "./login-settle.js";
import { markerScript } from "./marker.js";
import { revokeScript } from "./revoke.js";
import type { Script } from "./script.js";
import { sharedIssuerScript } from "./shared-issuer.js";
import {
  createSessionScript,
  endSessionsScript,
  listSessionsScript,
  momentScript,
  removeSessionsScript,
  rotateSessionScript,
} from "./sessions.js";
import { endGroupScript, joinTokensScript, listMembersScript, noteTokensScript } from "./tracked-tokens.js";

/** Every script, to be loaded when a connection is made. */
export const scripts: readonly Script[] = [
  ...[adjustScript, decideScript, cacheScript, cutOffScript, leaseScript, markerScript, revokeScript],
  ...[createSessionScript, endSessionsScript, listSessionsScript, momentScript, removeSessionsScript],
  ...[rotateSessionScript, endGroupScript, joinTokensScript, listMembersScript, noteTokensScript],
  ...[loginChargeScript, loginSettleScript, sharedIssuerScript],
];
