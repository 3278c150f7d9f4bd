/** What this needs of a connection of its own. */
export interface ListeningClient {
  readonly status: string;
  connect(): Promise<unknown>;
  disconnect(reconnect?: boolean): void;
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  subscribe(...channels: string[]): Promise<unknown>;
  unsubscribe(...channels: string[]): Promise<unknown>;
  on(event: string, listener: (...values: never[]) => void): unknown;
}

/** A heartbeat takes the place of time-outs: a subscriber that hears nothing may just have nothing to hear. */
export const listenerOptions: object = {
  protocol: 2,
  lazyConnect: true,
  connectionName: "portcullis-tracking",
  keyPrefix: "",
  readOnly: false,
  enableOfflineQueue: false,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  commandTimeout: undefined,
  socketTimeout: undefined,
  connectTimeout: 1000,
  disconnectTimeout: 500,
  retryStrategy: (attempt: number): number => Math.random() * Math.min(1000, 50 * 2 ** Math.min(attempt, 5)) + 25,
};
