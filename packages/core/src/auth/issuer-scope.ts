import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";

/** Which issuers there are, and whose identifiers are those that other services know. */
export interface IssuerScopeOptions {
  /** The issuers that are known by name. @default none: tokens of any issuer, which are told apart by nothing */
  readonly known?: readonly string[] | undefined;
  /**
   * The issuer of the `auth:` keys that other services share; `false`: none of these. @default the only one, unless another
   * gate's issuer has them
   */
  readonly shared?: string | false | undefined;
  /** Does a function accept issuers that are not known by name? @default false */
  readonly open?: boolean | undefined;
  /** The issuer of the tokens that this gate issues itself: of several the main one. @default none */
  readonly own?: string | undefined;
}

/** An identifier with whose it is: what becomes a key. */
export interface ScopedIdentifier {
  /** A digest of the issuer: 32 hexadecimal digits. */
  readonly issuer: string;
  readonly name: string;
}

/** The issuer of a gate that names none. */
const noIssuer = "0".repeat(32);

/** By the `auth` of a token: the issuers of the gate that has verified it, which tell whose its names are. */
const scopeByAuth = new WeakMap<object, IssuerScope>();

/** What says of a token who issued it: its `auth`, or parts of that. */
interface IssuedToken {
  readonly issuer?: unknown;
}

/**
 * `sub` and `jti` are unique per issuer only (RFC 7519 4.1.2, 4.1.7). So identifiers of several issuers are told apart before
 * they become text: a bare one is that of the gate's main issuer, the only or the shared one; another issuer's begins with
 * `iss-<digest>.`. Before they become keys every one is taken apart into its issuer and its name.
 *
 * The name of a user is the text of the first claim of `auth.subjectClaim`, or `claim-<digest>` of a later claim and its text:
 * so a client that is called 42 is not the user 42.
 */
export class IssuerScope {
  /** The issuers that are known by name. */
  readonly known: readonly string[];
  /** The issuer of what names nobody, such as the attempts at a log-in: a digest. */
  readonly home: string;
  /** The issuer, as a digest, that has the shared keys, or would have them; undefined if none of these. */
  readonly sharing: string | undefined;
  /** Does an option say whose the shared keys are? */
  readonly isSaid: boolean;
  /** May there be tokens of two issuers? */
  readonly several: boolean;
  /** The issuer of bare identifiers; undefined if there is none, or if no issuer is known by name. */
  readonly main: string | undefined;
  readonly #open: boolean;
  /** The digest of the main issuer: that of bare identifiers. */
  readonly #mainDigest: string | undefined;
  /** The digests of the issuers that are known by name. */
  readonly #known: ReadonlySet<string>;
  readonly #digests = new LRUCache<string, string>({ max: 1000 });

  constructor({ known: named = [], shared, open = false, own }: IssuerScopeOptions = {}) {
    const known = [...new Set(named)];
    this.known = known;
    this.#open = open;
    this.several = known.length > 1 || open;
    this.main = typeof shared === "string" ? shared : this.several ? own : known[0];
    this.#mainDigest = this.main !== undefined ? this.digest(this.main) : this.several ? undefined : noIssuer;
    this.sharing = shared === false ? undefined : this.#mainDigest;
    this.isSaid = shared !== undefined;
    this.home = this.#mainDigest ?? digestOfSeveral(known, open);
    const main = this.#mainDigest === undefined ? [] : [this.#mainDigest];
    this.#known = new Set([...main, ...known.map((issuer) => this.digest(issuer))]);
  }

  /** The identifier as it is unique among all issuers. A TypeError if it cannot be told whose it is. */
  qualify(issuer: string | undefined, identifier: string): string {
    const named = this.#resolveIssuer(issuer);
    // What looks like another issuer's must not be taken for it.
    if (named === this.main && !qualified.test(identifier)) return identifier;
    return textOf(named === undefined ? noIssuer : this.digest(named), identifier);
  }

  /** The principal of a user, whom the first claim of `auth.subjectClaim` names or else this later one. */
  principal(issuer: string | undefined, subject: string, laterClaim?: string): string {
    return this.qualify(issuer, laterClaim === undefined ? firstName(subject) : laterName(laterClaim, subject));
  }

  /** Is this the principal of a user whom a later claim of `auth.subjectClaim` names? */
  isOfLaterClaim(principal: string): boolean {
    return ofLaterClaim.test(this.parse(principal).name);
  }

  /**
   * Takes an identifier apart that {@link qualify} has made. A TypeError for a bare one that no issuer has as it is, and for
   * one of an issuer whose tokens this gate does not accept: a subject that looks like it names nobody of another gate.
   */
  parse(identifier: string): ScopedIdentifier {
    checkIdentifier(identifier);
    const match = qualified.exec(identifier);
    if (match?.[1] !== undefined) {
      const name = identifier.slice(match[0].length);
      checkIdentifier(name);
      if (!this.accepts(match[1])) throw new TypeError(foreignMessage);
      return { issuer: match[1], name };
    }
    this.checkPrincipal(identifier);
    return { issuer: this.#mainDigest ?? noIssuer, name: identifier };
  }

  /** A name that no issuer has given: of what belongs to the gate itself. */
  atHome(name: string): string {
    return textOf(this.home, name);
  }

  /** Another name that the issuer of this identifier has given: of a session of a user, say. */
  beside(identifier: string, name: string): string {
    return textOf(this.parse(identifier).issuer, name);
  }

  /** The same text for all gates, whichever issuer is their main one: what processes tell each other. */
  universal(identifier: string): string {
    const { issuer, name } = this.parse(identifier);
    return textOf(issuer, name);
  }

  /** A universal text as this gate writes it; undefined if its issuer is none of this gate's. */
  local(universal: string): string | undefined {
    const match = qualified.exec(universal);
    if (match?.[1] === undefined || !this.accepts(match[1])) return undefined;
    const name = universal.slice(match[0].length);
    return match[1] === this.#mainDigest && !qualified.test(name) ? name : universal;
  }

  /** Is this the digest of an issuer whose tokens this gate accepts? */
  accepts(digest: string): boolean {
    return this.#open || this.#known.has(digest);
  }

  /** Is this the digest of an issuer that is known by name? */
  knows(digest: string): boolean {
    return this.#known.has(digest);
  }

  /** The digest of the issuer of a token, as the gate tells issuers apart. */
  digestFor(issuer: string | undefined): string {
    const named = this.#resolveIssuer(issuer === "" ? undefined : issuer);
    return named === undefined || named === this.main ? (this.#mainDigest ?? noIssuer) : this.digest(named);
  }

  #resolveIssuer(issuer: string | undefined): string | undefined {
    this.#checkIssuer(issuer);
    const named = this.several ? (issuer ?? this.main) : this.main;
    if (this.several && (named === undefined || !(this.#open || this.known.includes(named))))
      throw new TypeError("the gate has several issuers: pass the issuer of the token");
    return named;
  }

  /** A principal as it came from `auth`. A TypeError for a bare `sub` that no issuer has as it is: it would name nobody. */
  checkPrincipal(principal: string): void {
    if (this.#mainDigest !== undefined || qualified.test(principal)) return;
    throw new TypeError("the gate has several issuers: pass the auth of the user or its principal, not the sub alone");
  }

  /** The only issuer is not another: what is said of another's tokens would befall those of the only one. */
  #checkIssuer(issuer: string | undefined): void {
    const [only] = this.known;
    if (this.several || only === undefined || issuer === undefined || issuer === "" || issuer === only) return;
    throw new TypeError("the issuer is not one whose tokens this gate accepts");
  }

  /** Notes that a token with this `auth` was verified by the gate of these issuers. */
  note(auth: object): void {
    scopeByAuth.set(auth, this);
  }

  /**
   * The issuer of a token as a digest, as the gate that has verified it tells issuers apart; undefined for an issuer whose
   * tokens this gate does not accept. Of a copy of `auth` nobody knows who has verified it: it is told by its `iss`.
   */
  issuerOf(token: IssuedToken): string | undefined {
    const issuer = typeof token.issuer === "string" ? token.issuer : "";
    const digest = scopeByAuth.get(token)?.digestFor(issuer) ?? this.#digestOfCopy(issuer);
    return digest !== undefined && this.accepts(digest) ? digest : undefined;
  }

  #digestOfCopy(issuer: string): string | undefined {
    if (this.known.length === 0 && !this.#open) return noIssuer;
    return issuer === "" ? undefined : this.digest(issuer);
  }

  /** Is this the user of this token, whichever gate has verified it? */
  isOf(principal: string, token: IssuedToken & { readonly principal: string }): boolean {
    if (token.principal === "" || this.issuerOf(token) === undefined) return false;
    return this.universal(principal) === (scopeByAuth.get(token) ?? this).universal(token.principal);
  }

  /**
   * The principal of somebody whom a call names. A TypeError for the `auth` of another gate, which writes the principal of
   * that issuer's user in another way: it would name somebody else here.
   */
  principalOf(subject: IssuedToken & { readonly principal: string }): string {
    const { principal, issuer } = subject;
    if (typeof principal !== "string" || principal === "" || typeof issuer !== "string") return principal;
    if (this.issuerOf(subject) !== this.parse(principal).issuer) throw new TypeError(foreignMessage);
    return principal;
  }

  /** A TypeError for the `auth` of a token whose names are those of an issuer of another gate. */
  checkToken(token: IssuedToken): void {
    if (typeof token.issuer !== "string" || this.issuerOf(token) === this.digestFor(token.issuer)) return;
    throw new TypeError(foreignMessage);
  }

  /** 128 bits of SHA-256: whoever may choose the name of an accepted issuer must not find one that meets another. */
  digest(issuer: string): string {
    const known = this.#digests.get(issuer);
    if (known !== undefined) return known;
    const digest = digestOf(issuer);
    this.#digests.set(issuer, digest);
    return digest;
  }
}

const qualified = /^iss-([0-9a-f]{32})\./;

/** The name of a user whom a later claim names. */
const ofLaterClaim = /^claim-[0-9a-f]{32}$/;

/** Texts of the first claim that could be taken for such a name get one more `first-` in front, which can be taken off. */
const alike = /^(?:first-)*claim-[0-9a-f]{32}$/;

function firstName(subject: string): string {
  return alike.test(subject) ? `first-${subject}` : subject;
}

function laterName(claim: string, subject: string): string {
  return `claim-${digestOf(JSON.stringify([claim, subject]))}`;
}

/** The text of the first claim, by which other services know a user; undefined for one whom a later claim names. */
export function subjectOfName(name: string): string | undefined {
  if (!alike.test(name)) return name;
  return ofLaterClaim.test(name) ? undefined : name.slice("first-".length);
}

function textOf(digest: string, name: string): string {
  return `iss-${digest}.${name}`;
}

/** No two texts give one digest, ill-formed ones included: no UTF-8 begins with the byte FF. */
function digestOf(text: string): string {
  const bytes = text.isWellFormed() ? text : Buffer.concat([Buffer.of(0xff), Buffer.from(text, "utf16le")]);
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}

/** The digest of a set of issuers, which no single issuer has: no UTF-8 begins with the byte FE. */
function digestOfSeveral(known: readonly string[], open: boolean): string {
  const names = JSON.stringify([open, ...[...known].sort()]);
  return createHash("sha256").update(Buffer.of(0xfe)).update(names).digest("hex").slice(0, 32);
}

const foreignMessage =
  "the token or principal is of an issuer whose tokens this gate does not accept, or of another gate: call that gate";

/** No text, or an empty one, would be one key for everybody who has none. */
export function checkIdentifier(identifier: unknown): asserts identifier is string {
  if (typeof identifier !== "string" || identifier === "") throw new TypeError("an identifier is a non-empty string");
}
