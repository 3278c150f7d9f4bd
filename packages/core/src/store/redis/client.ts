/** What Portcullis needs of a Redis client: the part that `Redis` and `Cluster` of ioredis 5 and 6 share. */
export interface RedisLike {
  readonly status: string;
  /** Called if the client was made with `lazyConnect`. */
  connect?(): Promise<unknown>;
  /** Another client of the same server: what tracking listens on. */
  duplicate?(options?: object): unknown;
  readonly isCluster?: boolean;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  on(event: "ready" | "error", listener: (error: Error) => void): unknown;
  off(event: "ready" | "error", listener: (error: Error) => void): unknown;
}
