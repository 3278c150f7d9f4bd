import type { IncomingMessage } from "node:http";
import type {
  Connections,
  Consumed,
  ConsumeOptions,
  LimitOptions,
  Verification,
  VerifyOptions,
} from "@portcullis/core";

/** The part of a gate that sockets use. Gates of `@portcullis/express` and `@portcullis/koa` have it. */
export interface SocketGate {
  /** Verifies a token, or the token of a request. */
  verify(source: string | IncomingMessage, options?: VerifyOptions): Promise<Verification>;
  /** Counts an event by a limit. */
  consume(limit: string | LimitOptions<never>, options: ConsumeOptions<never>): Promise<Consumed>;
  /** Open connections that end with their token. */
  readonly connections: Connections;
}
