/**
 * Tells access tokens from the other tokens of an issuer, by what those say of themselves: Keycloak's `typ`, Cognito's
 * `token_use`, `token_type` of djangorestframework-simplejwt, `type` of Flask-JWT-Extended, Casdoor's `tokenType`, `use`.
 * It is a closed list, since applications write words of their own (`"customer"`, `"app"`) into claims of these names.
 */

/** Names of claims and of header parameters, without regard to case, hyphens and underscores. */
const declaringNames: ReadonlySet<string> = new Set(["typ", "type", "tokentype", "tokenuse", "use"]);
const longestName = Math.max(...[...declaringNames].map((name) => name.length)) + 2;

/** What is done by such a token, and to what. */
const actions = ["reset", "verify", "verification", "registration"];
const targets = ["account", "credentials", "email", "password", "phone", "user"];

/** Words as {@link plainWord} makes them. */
const otherUses: ReadonlySet<string> = new Set([
  ...["refresh", "rt", "offline", "id", "serializedid", "logout"],
  ...["registrationaccess", "initialaccess", "clientregistration"],
  ...actions,
  ...actions.flatMap((action) => targets.flatMap((target) => [action + target, target + action])),
]);

/** Does one of these claims or header parameters say that the token is something else than an access token? */
export function declaresOtherUse(members: object): boolean {
  for (const [name, value] of Object.entries(members)) {
    if (name.length > longestName || !declaringNames.has(withoutSeparators(name))) continue;
    const words: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (words.some((word) => typeof word === "string" && otherUses.has(plainWord(word)))) return true;
  }
  return false;
}

/** `refresh_token`, `Refresh Token`, `rt+jwt` and the URIs of RFC 8693 3 without case, separators, and "token" or "jwt". */
function plainWord(word: string): string {
  if (word.length > longestWord) return "";
  const bare = word.toLowerCase().replace(/^(?:application\/|urn:ietf:params:oauth:token-type:)/, "");
  return withoutSeparators(bare).replace(/^(?:token|jwt)(?=.)|(?:token|jwt)+$/g, "");
}

const longestWord = 100;

function withoutSeparators(text: string): string {
  return text.toLowerCase().replace(/[-_\s+.:/]/g, "");
}
