import type { Check } from "../http/verdict.js";
import { allowed } from "../http/verdict.js";
import { optionError } from "../options/validate.js";
import type { Challenges } from "./challenges.js";

/** The characters of a scope token (RFC 6749 3.3). */
const scopeToken = /^[\x21\x23-\x5B\x5D-\x7E]+$/;

/** Passes tokens that grant all of these scopes; 403 `insufficient_scope` otherwise (RFC 6750 3.1). */
export function requireScopes<Raw>(scopes: readonly string[], challenges: Challenges): Check<Raw> {
  if (scopes.length === 0) throw optionError("requireScopes()", "needs at least one scope");
  for (const scope of scopes) {
    if (typeof scope !== "string" || !scopeToken.test(scope)) {
      throw optionError("requireScopes()", 'takes scopes such as "orders:read", each as an argument of its own');
    }
  }
  return function checkScopes({ facts: { auth } }) {
    if (auth === undefined) return challenges.credentialsRequired();
    return scopes.every((scope) => auth.scopes.includes(scope)) ? allowed : challenges.scopeInsufficient(scopes);
  };
}
