import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

export interface User {
  readonly name: string;
  /** What the user's tokens allow, separated by spaces (RFC 6749 3.3). */
  readonly scope: string;
}

interface Account {
  readonly user: User | undefined;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

const hashLength = 32;

/** Stands in for users who do not exist: asking for one takes as long, and no password fits. */
const nobody: Account = { user: undefined, salt: randomBytes(16), hash: randomBytes(hashLength) };

/** Stands in for a table of users. Passwords are kept as salted scrypt hashes. */
export class UserStore {
  readonly #accounts = new Map<string, Account>();
  /** Confirmed e-mail addresses by user name. */
  readonly #emails = new Map<string, string>();

  /** Adds a user with a random password, which is returned and not kept. */
  async add(name: string, scope: string): Promise<{ user: User; password: string }> {
    const user = { name, scope };
    const password = randomBytes(12).toString("base64url");
    const salt = randomBytes(16);
    this.#accounts.set(name, { user, salt, hash: await hashPassword(password, salt) });
    return { user, password };
  }

  /** The user whose name and password these are; undefined if either is wrong. */
  async authenticate(name: string, password: string): Promise<User | undefined> {
    const { user, salt, hash } = this.#accounts.get(name) ?? nobody;
    return timingSafeEqual(await hashPassword(password, salt), hash) ? user : undefined;
  }

  /** The e-mail address that the user has confirmed. */
  findEmail(name: string): string | undefined {
    return this.#emails.get(name);
  }

  setEmail(name: string, email: string): void {
    this.#emails.set(name, email);
  }
}

/** One of the settings that OWASP's Password Storage Cheat Sheet recommends: 16 MiB of memory, five passes. */
const cost = { N: 2 ** 14, r: 8, p: 5 };

function hashPassword(password: string, salt: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hashLength, cost, (error, hash) => (error === null ? resolve(hash) : reject(error)));
  });
}

/** The body of a login, if that is what it is. */
export function parseCredentials(body: unknown): { username: string; password: string } | undefined {
  if (typeof body !== "object" || body === null) return undefined;
  const { username, password } = body as Record<string, unknown>;
  return typeof username === "string" && typeof password === "string" ? { username, password } : undefined;
}

/** The e-mail address in a body, if there is one. Line breaks and other invisible characters belong to none. */
export function parseEmail(body: unknown): string | undefined {
  const { email } = Object(body) as { email?: unknown };
  return typeof email === "string" && /^[!-?A-~]{1,64}@[!-?A-~]{1,189}$/.test(email) ? email : undefined;
}
