import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import { connect, createServer } from "node:net";

export type RedisState = "none" | "running" | "stopped";

/**
 * Stands between this service and its Redis, so that a button of the page can stop Redis for this service alone. Main makes
 * one in development only.
 */
export class RedisSwitch {
  #isOn = true;
  readonly #relays: Server[] = [];
  readonly #sockets = new Set<Socket>();

  get state(): RedisState {
    if (this.#relays.length === 0) return "none";
    return this.#isOn ? "running" : "stopped";
  }

  /** Starts a relay to a Redis, and returns its address. TLS checks the name of the host, so such an address has no relay. */
  async relay(address: string): Promise<string> {
    const url = new URL(address);
    if (url.protocol !== "redis:") return address;
    const [host, port] = [url.hostname.replace(/^\[|\]$/g, "") || "127.0.0.1", Number(url.port || 6379)];
    const server = createServer((socket) => this.#carry(socket, host, port));
    // It must not keep the process alive.
    server.listen(0, "127.0.0.1").unref();
    await once(server, "listening");
    this.#relays.push(server);
    url.hostname = "127.0.0.1";
    url.port = String((server.address() as AddressInfo).port);
    return url.href;
  }

  /** Connections end at once when it is turned off, as if the server had died. */
  turn(on: boolean): void {
    this.#isOn = on;
    if (!on) for (const socket of this.#sockets) socket.destroy();
  }

  #carry(near: Socket, host: string, port: number): void {
    if (!this.#isOn) return void near.destroy();
    const far = connect(port, host);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }
}
