import type { Cluster, Redis } from "ioredis";
import { kindOf } from "../../lib/validate.js";
import { clearTimeout, monotonicNow, setTimeout } from "../../lib/real-timers.js";

/** A password, and when it expires. */
export interface ExpiringPassword {
  /** The password. */
  readonly password: string;
  /** When the password expires: a Date, or unix seconds. The gate renews it at 80 % of the time until then. */
  readonly expiresAt?: Date | number | undefined;
}

/** Returns the present password. It is called before each connection, and before the password expires. */
export type PasswordFunction = () => string | ExpiringPassword | Promise<string | ExpiringPassword>;

export interface PasswordSourceOptions {
  readonly get: PasswordFunction;
  readonly username: string | undefined;
  /** Called when the function fails. */
  readonly onFailure: (reason: string) => void;
  /** Called when a server refuses the password on a connection that is in use. */
  readonly onRefusal: (error: unknown) => void;
}

/** The function of the application must answer within this time. */
const answerMs = 10_000;
/** A password is renewed at this part of its time. */
const renewal = 0.8;
/** A password that has expired before it was given: the clocks differ, or the function gives an old one. */
const expiredRetryMs = 10_000;
const minCheckMs = 1000;
const maxTimerMs = 2 ** 31 - 1;
/** A later number is in milliseconds. */
const maxSeconds = 1e11;

/** The members of an ioredis client that a rotating password needs. */
type PasswordClient = Pick<Redis, "options" | "status" | "call" | "connect" | "disconnect">;

/**
 * A password that changes. Every client that is connected through {@link PasswordSource.guard} asks for the present
 * password before each of its connections. Clients that are connected get it by AUTH before it expires.
 */
export class PasswordSource {
  readonly #options: PasswordSourceOptions;
  /** The clients that are in use. */
  readonly #clients = new Set<PasswordClient>();
  readonly #mute = new WeakSet<PasswordClient>();
  readonly #listeners = new Set<() => void>();
  #password: string | undefined;
  #staleAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<string> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: PasswordSourceOptions) {
    this.#options = options;
  }

  /** The last known password; undefined before the first call of the function. */
  get current(): string | undefined {
    return this.#password;
  }

  /** Calls the listener when connections that cannot send AUTH should be made anew. */
  onRenewal(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** The server has refused the password: the next connection asks for a new one, or, in a Cluster, the gate now. */
  refused(isCluster = false): void {
    if (isCluster) return this.check();
    this.#staleAt = Number.NEGATIVE_INFINITY;
  }

  /** Resolves to the present password. Calls that come together share one call of the function. */
  fresh(): Promise<string> {
    if (this.#password !== undefined && monotonicNow() < this.#staleAt) return Promise.resolve(this.#password);
    this.#fetching ??= this.#fetch().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  /**
   * Makes a client ask for the password before it connects. If the function fails, the client waits and tries again,
   * until it is disconnected. A `mute` client takes no AUTH while it is connected.
   */
  guard(client: PasswordClient, mute?: "mute"): void {
    if (mute !== undefined) this.#mute.add(client);
    const connect = client.connect.bind(client);
    const disconnect = client.disconnect.bind(client);
    let connecting: Promise<void> | undefined;
    let stopped = false;
    this.#clients.add(client);
    if (this.#password !== undefined) client.options.password = this.#password;
    client.disconnect = (reconnect = false) => {
      if (!reconnect) {
        stopped = true;
        this.#clients.delete(client);
      }
      disconnect(reconnect);
    };
    const prepare = async (): Promise<void> => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          client.options.password = await this.fresh();
          break;
        } catch (error) {
          this.#tell(error);
          await pause(Math.min(5000, 100 * 2 ** attempt));
        }
        if (stopped || this.#closed) break;
      }
      if (stopped || this.#closed) throw new Error("Connection is closed.");
      await connect();
    };
    client.connect = () => {
      connecting ??= prepare().finally(() => (connecting = undefined));
      return connecting;
    };
  }

  /** The same for a client of our own; of a Cluster, for its nodes, also for those that are found later. */
  protect(client: Redis | Cluster): void {
    if (!client.isCluster) return this.guard(client as Redis);
    const cluster = client as Cluster;
    const connect = cluster.connect.bind(cluster);
    // ioredis needs the connection of a node to begin at once, so that it begins with the last known password.
    cluster.on("+node", (node: Redis) => {
      this.#clients.add(node);
      if (this.#password !== undefined) node.options.password = this.#password;
    });
    cluster.on("-node", (node: Redis) => {
      this.#clients.delete(node);
      this.check();
    });
    cluster.connect = async () => {
      await this.fresh().catch((error: unknown) => this.#tell(error));
      await connect();
    };
  }

  /** Asks for the password again, at most once a second: it may be the reason for which the nodes do not answer. */
  check(): void {
    if (this.#closed || monotonicNow() - this.#askedAt < minCheckMs) return;
    this.refused();
    void this.fresh().catch((error: unknown) => this.#tell(error));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#clients.clear();
    this.#listeners.clear();
  }

  #tell(error: unknown): void {
    this.#options.onFailure(error instanceof PasswordError ? error.message : "redis.password has failed");
  }

  async #fetch(): Promise<string> {
    this.#askedAt = monotonicNow();
    const { password, expiresAt } = read(await within(answerMs, async () => this.#options.get()));
    this.#password = password;
    for (const client of this.#clients) client.options.password = password;
    const leftMs = expiresAt === undefined ? 0 : renewal * (millis(expiresAt) - Date.now());
    this.#staleAt = monotonicNow() + Math.max(0, leftMs);
    clearTimeout(this.#timer);
    if (expiresAt !== undefined && !this.#closed) {
      const waitMs = leftMs > 0 ? Math.min(maxTimerMs, Math.max(1000, leftMs)) : expiredRetryMs;
      this.#timer = setTimeout(() => void this.#renew(), waitMs).unref();
    }
    return password;
  }

  /** Gives the next password to all connections before the present one expires. */
  async #renew(): Promise<void> {
    const { username, onRefusal } = this.#options;
    try {
      this.refused();
      const former = this.#password;
      const password = await this.fresh();
      const words = username === undefined ? [password] : [username, password];
      for (const client of this.#clients)
        if (client.status === "ready" && !this.#mute.has(client)) client.call("AUTH", ...words).catch(onRefusal);
      // A new listening connection is a gap for channels, which the same password is not worth.
      if (password !== former) for (const listener of this.#listeners) listener();
    } catch (error) {
      this.#tell(error);
      if (!this.#closed) this.#timer = setTimeout(() => void this.#renew(), 1000).unref();
    }
  }
}

/** An error whose message contains nothing of the application. */
class PasswordError extends Error {}

/**
 * Makes a copy of a client use the user and password that the client has at each connection: the application may have
 * changed them since the copy was made.
 */
export function followCredentials(copy: object, original: () => object): void {
  const follower = copy as Partial<FollowerClient>;
  if (follower.options === undefined || follower.connect === undefined) return;
  const { options } = follower;
  const connect = follower.connect.bind(copy);
  follower.connect = () => {
    const { username, password } = (original() as Partial<FollowerClient>).options ?? options;
    options.username = username;
    options.password = password;
    return connect();
  };
}

interface FollowerClient {
  readonly options: { username?: string | null | undefined; password?: string | null | undefined };
  connect: () => Promise<void>;
}

function read(given: unknown): ExpiringPassword {
  const { password, expiresAt } = (typeof given === "string" ? { password: given } : (given ?? {})) as Partial<
    Record<keyof ExpiringPassword, unknown>
  >;
  if (typeof password !== "string" || password === "")
    throw new PasswordError(`redis.password must give a text or { password, expiresAt }, not ${kindOf(given)}`);
  if (expiresAt === undefined) return { password };
  const isTime =
    expiresAt instanceof Date
      ? !Number.isNaN(expiresAt.getTime())
      : typeof expiresAt === "number" && expiresAt > 0 && expiresAt < maxSeconds;
  if (!isTime) throw new PasswordError("redis.password must give expiresAt as a Date or in unix seconds");
  return { password, expiresAt: expiresAt as Date | number };
}

function millis(time: Date | number): number {
  return typeof time === "number" ? time * 1000 : time.getTime();
}

async function within<T>(ms: number, call: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new PasswordError("redis.password has not answered")), ms).unref();
  });
  try {
    return await Promise.race([call(), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
