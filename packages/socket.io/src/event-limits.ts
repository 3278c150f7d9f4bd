import type { Auth, Denied } from "@portcullis/core";
import type { Socket } from "socket.io";
import type { SocketGate } from "./gate.js";
import type { EventLimit } from "./options.js";
import type { RefusalData } from "./refusal.js";
import { failed, refusalData, tooMany } from "./refusal.js";
import { tell } from "./local-events.js";

export interface EventLimitsOptions {
  readonly gate: Pick<SocketGate, "consume">;
  readonly limits: readonly EventLimit[];
  /** Called with an error of a function of the application. */
  readonly onError: (error: unknown) => void;
}

/** Who sends the events of a socket. */
export interface Sender {
  readonly socket: Socket;
  readonly auth: Auth;
  readonly address: string | undefined;
}

/** Events of one socket that may wait for the store. */
const maxWaiting = 100;
/** Characters of the name of a refused event that its sender gets back. */
const maxShown = 128;

type Listener = (...args: unknown[]) => void;

/** Counts the events of sockets by limits of the gate. Events of a socket are handled in the order in which they came. */
export class EventLimits {
  readonly #options: EventLimitsOptions;
  readonly #byEvent = new Map<string, readonly EventLimit[]>();
  readonly #general: readonly EventLimit[];

  constructor(options: EventLimitsOptions) {
    this.#options = options;
    this.#general = options.limits.filter(({ events }) => events === undefined);
    const named = new Set(options.limits.flatMap(({ events }) => events ?? []));
    for (const name of named) {
      const limits = options.limits.filter(({ events }) => events === undefined || events.includes(name));
      this.#byEvent.set(name, limits);
    }
  }

  /**
   * Installs the limits on a socket. A refused event reaches no listener; its sender gets `{ error }` as the acknowledgement,
   * or the event `portcullis:refused` if it asked for none.
   *
   * @param onAnswer Called before each such answer.
   */
  install(socket: Socket, exempt: string, senderOf: () => Sender, onAnswer: () => void): void {
    if (this.#options.limits.length === 0) return;
    let waiting = 0;
    let last: Promise<void> = Promise.resolve();

    socket.use((event, next) => {
      const [given, ...args] = event as [string | number, ...unknown[]];
      // A client may name an event by a number; it reaches the listeners of its text.
      const name = String(given);
      const limits = name === exempt ? [] : (this.#byEvent.get(name) ?? this.#general);
      // An event without limits waits too, so that it does not overtake an earlier one.
      if (limits.length === 0 && waiting === 0) return next();
      if (waiting >= maxWaiting) return refuse(name, args, tooMany);
      waiting += 1;
      const decision = this.#decide(limits, senderOf(), name, args);
      last = Promise.all([decision, last]).then(([refusal]) => {
        waiting -= 1;
        if (refusal === undefined) next();
        else refuse(name, args, refusal);
      });
    });

    function refuse(name: string, args: readonly unknown[], error: RefusalData): void {
      onAnswer();
      const acknowledge = args.at(-1);
      if (typeof acknowledge === "function") (acknowledge as Listener)({ error });
      else tell(socket, "portcullis:refused", { event: name.slice(0, maxShown), error });
    }
  }

  /** Never rejects: an error would be an unhandled rejection of the process. */
  async #decide(
    limits: readonly EventLimit[],
    sender: Sender,
    name: string,
    args: readonly unknown[],
  ): Promise<RefusalData | undefined> {
    try {
      const verdicts = await Promise.all(limits.map((limit) => this.#consume(limit, sender, name, args)));
      const denial = verdicts.find((verdict): verdict is Denied => !verdict.allowed);
      return denial === undefined ? undefined : refusalData(denial);
    } catch (error) {
      this.#options.onError(error);
      return failed;
    }
  }

  #consume(
    { limit, cost }: EventLimit,
    { socket, auth, address }: Sender,
    name: string,
    args: readonly unknown[],
  ): ReturnType<SocketGate["consume"]> {
    const given = typeof args.at(-1) === "function" ? args.slice(0, -1) : args;
    return this.#options.gate.consume(limit, {
      ...{ auth, address, request: socket as never },
      cost: typeof cost === "function" ? cost(name, given) : cost,
    });
  }
}
