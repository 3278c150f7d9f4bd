import { secure } from "@portcullis/socket.io";
import type { RefusalData, SecuredServer, SecureOptions, SocketData } from "@portcullis/socket.io";
import { signToken, testAuth } from "@portcullis/testkit";
import { Server } from "socket.io";
import type { DefaultEventsMap, ServerOptions } from "socket.io";
import { io as connect } from "socket.io-client";
import type { ManagerOptions, Socket as ClientSocket, SocketOptions } from "socket.io-client";
import { allAdapters } from "../../support/app.js";
import type { AnyGate, AnyOptions, TestAdapter } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import { silentLogger } from "../../support/logger.js";
import { freshPrefix } from "../../support/redis.js";

export type ClientOptions = Partial<ManagerOptions & SocketOptions>;

export type TestServer = Server<
  DefaultEventsMap,
  DefaultEventsMap,
  DefaultEventsMap,
  SocketData & { nickname?: string }
>;

/** A Socket.IO server behind a gate. */
export interface SocketApp {
  readonly url: string;
  readonly gate: AnyGate;
  readonly io: TestServer;
  readonly secured: SecuredServer;
  /** A client that does not reconnect by itself, unless the options say so. It is closed after the test. */
  open(auth?: object, options?: ClientOptions): ClientSocket;
  /** A client that has connected. */
  join(auth?: object, options?: ClientOptions): Promise<ClientSocket>;
  /** The refusal of a client. */
  refusal(auth?: object, options?: ClientOptions): Promise<RefusalData>;
}

export interface SocketAppOptions {
  readonly adapter?: TestAdapter | undefined;
  readonly gate?: Partial<AnyOptions>;
  readonly secure?: SecureOptions;
  readonly server?: Partial<ServerOptions>;
  /** Called before `secure()`. */
  readonly before?: (io: TestServer) => void;
  /** The namespace of clients. @default "/" */
  readonly namespace?: string;
}

/** Starts an application with Socket.IO; it is closed after the test. */
export async function startSockets(options: SocketAppOptions = {}): Promise<SocketApp> {
  const adapter = options.adapter ?? allAdapters[0];
  const app = await adapter!.start({
    options: {
      ...{ redis: "memory", prefix: freshPrefix(), auth: testAuth, deadline: 1000, logger: silentLogger },
      ...options.gate,
    },
    routes: { "GET /me": ({ auth }) => ({ subject: auth?.subject ?? null }) },
  });
  const io: TestServer = new Server(app.server, options.server);
  options.before?.(io);
  const secured = secure(io, app.gate as never, options.secure);
  cleanUp(async () => {
    await secured.close();
    await io.close();
  });

  function open(auth: object = {}, rest: ClientOptions = {}): ClientSocket {
    const { namespace = "" } = options;
    const client = connect(app.url + namespace, { auth, reconnection: false, forceNew: true, ...rest });
    cleanUp(() => client.disconnect());
    return client;
  }

  async function join(auth?: object, rest?: ClientOptions): Promise<ClientSocket> {
    const client = open(auth, rest);
    await connected(client);
    return client;
  }

  async function refusal(auth?: object, rest?: ClientOptions): Promise<RefusalData> {
    const client = open(auth, rest);
    return new Promise((resolve, reject) => {
      client.once("connect", () => reject(new Error("connected")));
      client.once("connect_error", (error) => {
        const { data } = error as Error & { data?: RefusalData };
        if (data === undefined) reject(error);
        else resolve(data);
      });
    });
  }

  return { url: app.url, gate: app.gate, io, secured, open, join, refusal };
}

export async function connected(client: ClientSocket): Promise<void> {
  if (client.connected) return;
  await new Promise<void>((resolve, reject) => {
    client.once("connect", resolve);
    client.once("connect_error", reject);
  });
}

/** The next event of a client with this name. */
export async function next<T = unknown>(client: ClientSocket, event: string): Promise<T> {
  return new Promise((resolve) => client.once(event, resolve as (value: unknown) => void));
}

/** A token as `auth` of a client. */
export async function user(claims: Record<string, unknown> = {}): Promise<{ token: string }> {
  return { token: await signToken(claims) };
}
