import { createHash } from "node:crypto";
import { GrowingLru } from "../lib/growing-lru.js";

/** The issuers of a gate, and the issuer of the shared keys. */
export interface IssuerScopeOptions {
  /** Issuers known by name. @default none: the gate accepts any issuer and does not tell issuers apart */
  readonly known?: readonly string[] | undefined;
  /**
   * Issuer of the `auth:` keys that other services share; `false` for none. @default the only issuer, unless the issuer of
   * another gate has them
   */
  readonly shared?: string | false | undefined;
  /** Does a function accept further issuers? @default false */
  readonly open?: boolean | undefined;
  /** Issuer of the tokens that this gate issues. It is the main issuer of several. @default none */
  readonly own?: string | undefined;
}

/** An identifier with its issuer, from which keys are made. */
export interface ScopedIdentifier {
  /** A digest of the issuer: 32 hexadecimal digits. */
  readonly issuer: string;
  readonly name: string;
}

/** The digest that stands for the issuer of a gate that names none. */
const noIssuer = "0".repeat(32);

/** The issuers of the gate that verified a token, by its `auth`. */
const scopeByAuth = new WeakMap<object, IssuerScope>();

/** The `auth` of a token, or the part of it that names the issuer. */
interface IssuedToken {
  readonly issuer?: unknown;
}

/**
 * Keeps identifiers of several issuers apart, since `sub` and `jti` are unique per issuer only (RFC 7519 4.1.2, 4.1.7). As text,
 * a bare identifier belongs to the main issuer of the gate (the only or the shared issuer); an identifier of another issuer
 * begins with `iss-<digest>.`. For keys, every identifier is parsed into its issuer and its name.
 *
 * The name of a user is the text of the first claim of `auth.subjectClaim`, or `claim-<digest>` over a later claim and its
 * text. So a client with the id 42 is not the user 42.
 */
export class IssuerScope {
  /** Issuers known by name. */
  readonly known: readonly string[];
  /** Digest of the issuer for records that name no user, such as login attempts. */
  readonly home: string;
  /** Digest of the issuer that has the shared keys or would have them; undefined for none. */
  readonly sharing: string | undefined;
  /** Does an option name the issuer of the shared keys? */
  readonly isSaid: boolean;
  /** Does the gate accept more than one issuer? */
  readonly several: boolean;
  /** Issuer of bare identifiers; undefined if there is none, or if no issuer is known by name. */
  readonly main: string | undefined;
  readonly #open: boolean;
  /** Digest of the main issuer. */
  readonly #mainDigest: string | undefined;
  /** Digests of the issuers known by name. */
  readonly #known: ReadonlySet<string>;
  readonly #digests = new GrowingLru<string, string>({ max: 1000 });

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

  /** Makes an identifier unique among all issuers. Throws a TypeError if its issuer is unknown. */
  qualify(issuer: string | undefined, identifier: string): string {
    const named = this.#resolveIssuer(issuer);
    // An identifier that looks like one of another issuer must not be taken for it.
    if (named === this.main && !qualified.test(identifier)) return identifier;
    return textOf(named === undefined ? noIssuer : this.digest(named), identifier);
  }

  /** The principal of a user named by the first claim of `auth.subjectClaim`, or by this later claim. */
  principal(issuer: string | undefined, subject: string, laterClaim?: string): string {
    return this.qualify(issuer, laterClaim === undefined ? firstName(subject) : laterName(laterClaim, subject));
  }

  /** Is this the principal of a user named by a later claim of `auth.subjectClaim`? */
  isOfLaterClaim(principal: string): boolean {
    return ofLaterClaim.test(this.parse(principal).name);
  }

  /**
   * Parses an identifier made by {@link qualify}. Throws a TypeError for a bare identifier without a main issuer, and for one
   * of an issuer that this gate does not accept.
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

  /** Qualifies a name that belongs to the gate itself and to no issuer. */
  atHome(name: string): string {
    return textOf(this.home, name);
  }

  /** Qualifies another name by the issuer of this identifier, such as the session of a user. */
  beside(identifier: string, name: string): string {
    return textOf(this.parse(identifier).issuer, name);
  }

  /** Qualifies a name by the digest of its issuer, as messages contain it. */
  under(digest: string, name: string): string {
    return textOf(digest, name);
  }

  /** The text that is the same for all gates, whichever issuer is their main one. Processes send it to each other. */
  universal(identifier: string): string {
    const { issuer, name } = this.parse(identifier);
    return textOf(issuer, name);
  }

  /** The identifier of this gate for a universal text; undefined if the gate does not accept its issuer. */
  local(universal: string): string | undefined {
    const match = qualified.exec(universal);
    if (match?.[1] === undefined || !this.accepts(match[1])) return undefined;
    const name = universal.slice(match[0].length);
    return match[1] === this.#mainDigest && !qualified.test(name) ? name : universal;
  }

  /** Does the gate accept the issuer with this digest? */
  accepts(digest: string): boolean {
    return this.#open || this.#known.has(digest);
  }

  /** Is an issuer with this digest known by name? */
  knows(digest: string): boolean {
    return this.#known.has(digest);
  }

  /** The digest of the issuer of a token; the same for all issuers if the gate does not tell them apart. */
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

  /** Checks a principal. Throws a TypeError for a bare `sub` if there is no main issuer: it would name nobody. */
  checkPrincipal(principal: string): void {
    if (this.#mainDigest !== undefined || qualified.test(principal)) return;
    throw new TypeError("the gate has several issuers: pass the auth of the user or its principal, not the sub alone");
  }

  /** Refuses another issuer than the only one, since the call would affect tokens of the only one. */
  #checkIssuer(issuer: string | undefined): void {
    const [only] = this.known;
    if (this.several || only === undefined || issuer === undefined || issuer === "" || issuer === only) return;
    throw new TypeError("the issuer is not one whose tokens this gate accepts");
  }

  /** Notes that the gate of these issuers verified a token with this `auth`. */
  note(auth: object): void {
    scopeByAuth.set(auth, this);
  }

  /**
   * The digest of the issuer of a token, as the gate that verified the token tells issuers apart; undefined for an issuer that
   * this gate does not accept. For a copy of `auth`, whose verifier is unknown, `iss` decides.
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

  /** Does the principal name the user of this token, whichever gate verified it? */
  isOf(principal: string, token: IssuedToken & { readonly principal: string }): boolean {
    if (token.principal === "" || this.issuerOf(token) === undefined) return false;
    return this.universal(principal) === (scopeByAuth.get(token) ?? this).universal(token.principal);
  }

  /**
   * The principal of the `auth` in a call. Throws a TypeError for the `auth` of another gate that writes principals in another
   * way, since it would name another user here.
   */
  principalOf(subject: IssuedToken & { readonly principal: string }): string {
    const { principal, issuer } = subject;
    if (typeof principal !== "string" || principal === "" || typeof issuer !== "string") return principal;
    if (this.issuerOf(subject) !== this.parse(principal).issuer) throw new TypeError(foreignMessage);
    return principal;
  }

  /** Throws a TypeError for the `auth` of a token whose issuer only another gate accepts. */
  checkToken(token: IssuedToken): void {
    if (typeof token.issuer !== "string" || this.issuerOf(token) === this.digestFor(token.issuer)) return;
    throw new TypeError(foreignMessage);
  }

  /** 128 bits of SHA-256, so that nobody can choose the name of an issuer whose digest equals another. */
  digest(issuer: string): string {
    const known = this.#digests.get(issuer);
    if (known !== undefined) return known;
    const digest = digestOf(issuer);
    this.#digests.set(issuer, digest);
    return digest;
  }
}

const qualified = /^iss-([0-9a-f]{32})\./;

/** The name of a user named by a later claim. */
const ofLaterClaim = /^claim-[0-9a-f]{32}$/;

/** Texts of the first claim that look like such a name get the prefix `first-`, which can be removed again. */
const alike = /^(?:first-)*claim-[0-9a-f]{32}$/;

function firstName(subject: string): string {
  return alike.test(subject) ? `first-${subject}` : subject;
}

function laterName(claim: string, subject: string): string {
  return `claim-${digestOf(JSON.stringify([claim, subject]))}`;
}

/** The text of the first claim, by which other services know a user; undefined for a user named by a later claim. */
export function subjectOfName(name: string): string | undefined {
  if (!alike.test(name)) return name;
  return ofLaterClaim.test(name) ? undefined : name.slice("first-".length);
}

function textOf(digest: string, name: string): string {
  return `iss-${digest}.${name}`;
}

/** Different texts have different digests, also ill-formed ones: no UTF-8 begins with the byte FF. */
function digestOf(text: string): string {
  const bytes = text.isWellFormed() ? text : Buffer.concat([Buffer.of(0xff), Buffer.from(text, "utf16le")]);
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}

/** The digest of a set of issuers. It differs from that of every single issuer: no UTF-8 begins with the byte FE. */
function digestOfSeveral(known: readonly string[], open: boolean): string {
  const names = JSON.stringify([open, ...[...known].sort()]);
  return createHash("sha256").update(Buffer.of(0xfe)).update(names).digest("hex").slice(0, 32);
}

const foreignMessage =
  "the token or principal is of an issuer whose tokens this gate does not accept, or of another gate: call that gate";

/** An absent or empty identifier would be one key for all users without an identifier. */
export function checkIdentifier(identifier: unknown): asserts identifier is string {
  if (typeof identifier !== "string" || identifier === "") throw new TypeError("an identifier is a non-empty string");
}
