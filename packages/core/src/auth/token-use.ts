/**
 * Tells access tokens from the other tokens of an issuer, by what those say of themselves: Keycloak's `typ`, Cognito's
 * `token_use`, `token_type` of djangorestframework-simplejwt, `type` of Flask-JWT-Extended, Casdoor's `tokenType`, `use`.
 * It is a closed list, since applications write words of their own (`"customer"`, `"app"`) into claims of these names.
 */

/** Names of claims and of header parameters, without regard to case, hyphens and underscores. */
const declaringNames: ReadonlySet<string> = new Set(["typ", "type", "tokentype", "tokenuse", "use"]);
const longestName = Math.max(...[...declaringNames].map((name) => name.length)) + 2;

/**
 * Links in mails and messages: whoever has the mailbox may do this one thing. ASP.NET Identity says `ResetPassword` and
 * `EmailConfirmation`, Devise `confirmation` and `unlock`, Supabase `recovery` and `invite`, recipes `forgot_password`.
 */
const linkWords = [
  ...["reset", "verify", "verification", "registration", "recover", "recovery", "confirm", "confirmation"],
  ...["activate", "activation", "unlock", "invite", "invitation", "signup", "unsubscribe"],
];
/** What means a link only together with its target: alone, these are words of any business. */
const changeWords = ["change", "update", "set", "forgot", "forgotten"];
const linkTargets = ["account", "credentials", "email", "emailaddress", "mail", "password", "phone", "phonenumber"];
/** Keycloak's own: required actions, the link to another provider's account, the invitation to an organisation. */
const keycloakLinks = ["executeactions", "idpverifyaccountviaemail", "orgivt"];

/** A sign-in by a link or a code that has yet to be exchanged for tokens. */
const signInWords = ["magic", "magiclink", "loginlink", "signinlink", "passwordless", "otp", "onetimepassword"];

/**
 * Between the password and the second factor: to accept it is to do without the second factor. Auth0's `mfa_token` is one. A
 * token after the second factor says so in `amr` or `acr`, or with a word such as `mfa_verified`, which passes.
 */
const factors = ["mfa", "2fa", "twofa", "totp", "twofactor", "multifactor", "secondfactor"];
const factorStages = [
  ...["", "auth", "authentication", "login", "pending", "required", "challenge", "verify", "verification"],
  ...["setup", "enroll", "enrollment"],
];

/** What the flows of OAuth and OpenID Connect pass around before there is a token, and what guards a form. */
const flowWords = [
  ...["authcode", "authorizationcode", "devicecode", "clientassertion", "requestobject", "idjag"],
  ...["preauth", "preauthentication", "prelogin", "csrf", "xsrf"],
];

/** Words as {@link plainWord} makes them. */
const otherUses: ReadonlySet<string> = new Set([
  // For the issuer: they give new tokens, or say who signed in or out.
  ...["refresh", "rt", "offline", "id", "serializedid", "logout", "backchannellogout"],
  // To register clients (RFC 7591, RFC 7592).
  ...["registrationaccess", "initialaccess", "clientregistration"],
  ...linkWords,
  ...inBothOrders(linkWords, [...linkTargets, "user"]),
  ...inBothOrders(changeWords, linkTargets),
  ...keycloakLinks,
  ...signInWords,
  ...factors.flatMap((factor) => factorStages.map((stage) => factor + stage)),
  ...flowWords,
]);

/**
 * A media type of its own says what a JWT is for (RFC 8725 3.11): `dpop+jwt`, `logout+jwt`, `secevent+jwt`, `kb+jwt`,
 * `entity-statement+jwt`, `vc+sd-jwt`. That of access tokens is `at+jwt`; nobody writes a word of a business so.
 */
const mediaType = /\+(?:sd-)?jwt$/;
const accessTokenWords: ReadonlySet<string> = new Set(["at", "access"]);

/** Does one of these claims or header parameters say that the token is something else than an access token? */
export function declaresOtherUse(members: object): boolean {
  for (const [name, value] of Object.entries(members)) {
    if (name.length > longestName || !declaringNames.has(withoutSeparators(name))) continue;
    const words: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (words.some((word) => typeof word === "string" && saysOtherUse(word))) return true;
  }
  return false;
}

function saysOtherUse(text: string): boolean {
  if (text.length > longestWord) return false;
  const bare = text.trim().toLowerCase();
  const word = plainWord(bare);
  return otherUses.has(word) || (mediaType.test(bare) && !accessTokenWords.has(word));
}

/** `refresh_token`, `Refresh Token`, `rt+jwt` and the URIs of RFC 8693 3 without case, separators, and "token" or "jwt". */
function plainWord(text: string): string {
  const bare = text.replace(/^(?:application\/|urn:ietf:params:oauth:token-type:)/, "");
  return withoutSeparators(bare).replace(/^(?:token|jwt)(?=.)|(?:token|jwt)+$/g, "");
}

const longestWord = 100;

function withoutSeparators(text: string): string {
  return text.toLowerCase().replace(/[-_\s+.:/]/g, "");
}

/** `resetpassword` and `passwordreset`. */
function inBothOrders(words: readonly string[], targets: readonly string[]): string[] {
  return words.flatMap((word) => targets.flatMap((target) => [word + target, target + word]));
}
