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
  verify(source: string | IncomingMessage, options?: VerifyOptions): Promise<Verification>;
  consume(limit: string | LimitOptions<never>, options: ConsumeOptions<never>): Promise<Consumed>;
  readonly connections: Connections;
}
