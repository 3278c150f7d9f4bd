import type { Exchange } from "../http/exchange.js";
import type { Interceptor, Outgoing } from "../http/interceptor.js";
import { fieldsToStore, fieldText, removedFields } from "../http/response-fields.js";
import type { BodyForm } from "../http/verdict.js";
import { StoreFault } from "../store/ports/fault.js";
import type { IdempotencyClaim, IdempotencyStore } from "../store/ports/idempotency.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { KeptResponse } from "./kept-response.js";
import { encodeKept } from "./kept-response.js";
import type { Repeats } from "./repeats.js";
import { clearInterval, queueMicrotask, setInterval, setTimeout } from "../lib/real-timers.js";

export interface ExecutionServices {
  readonly store: IdempotencyStore;
  readonly telemetry: Telemetry;
  readonly repeats: Repeats;
}

/** How long a handler may go on whose client has gone and of whose end nothing is known, as in Express. */
const abandonedMs = 60_000;

/**
 * One run of a handler under a key. It extends the lease until its response is stored, or the key is released. Both happen
 * once.
 */
export class Execution {
  readonly #claim: IdempotencyClaim;
  readonly #ttlMs: number;
  readonly #services: ExecutionServices;
  readonly #heartbeat: NodeJS.Timeout;
  #settlement: Promise<void> | undefined;

  constructor(claim: IdempotencyClaim, ttlMs: number, services: ExecutionServices) {
    this.#claim = claim;
    this.#ttlMs = ttlMs;
    this.#services = services;
    this.#heartbeat = setInterval(() => void this.#extend(), claim.leaseMs / 3).unref();
  }

  /** Settles when the store has been told of the end, or could not be; undefined before the end. */
  get settlement(): Promise<void> | undefined {
    return this.#settlement;
  }

  store(response: KeptResponse): void {
    this.#settlement ??= this.#store(encodeKept(response));
  }

  release(): void {
    this.#settlement ??= this.#release();
  }

  /** Ends the execution of a handler that makes no response. */
  watch(exchange: Exchange): void {
    let isHandled = false;
    let isOver = false;
    const endUnsettled = (): void => {
      // In a microtask: a response may report its end while it is being ended.
      if (isHandled && isOver) queueMicrotask(() => this.release());
    };
    exchange.onHandled(() => {
      isHandled = true;
      endUnsettled();
    });
    exchange.onClose(() => {
      isOver = true;
      endUnsettled();
      // Nothing more is heard of some handlers. The lease then ends by itself; a response that comes later is still stored.
      if (this.#settlement === undefined)
        setTimeout(() => clearInterval(this.#heartbeat), Math.max(abandonedMs, this.#claim.leaseMs)).unref();
    });
  }

  async #extend(): Promise<void> {
    const answer = await this.#services.store.claim({ ...this.#claim, waits: false });
    if (answer instanceof StoreFault || answer.state === "claimed" || this.#settlement !== undefined) return;
    // The lease had ended, as after a long pause of this process. The handler cannot be stopped.
    clearInterval(this.#heartbeat);
    this.#services.telemetry.idempotent("overtaken");
  }

  async #store(response: string): Promise<void> {
    clearInterval(this.#heartbeat);
    const { store, repeats, telemetry } = this.#services;
    const { key, fingerprint, leaseMs } = this.#claim;
    const call = () => store.complete({ key, fingerprint, response, ttlMs: this.#ttlMs });
    const fault = await call();
    telemetry.idempotent(fault === undefined ? "stored" : "unstored");
    if (fault?.outage === true) repeats.add(call, leaseMs, response.length);
  }

  async #release(): Promise<void> {
    clearInterval(this.#heartbeat);
    this.#services.telemetry.idempotent("released");
    await releaseClaim(this.#claim, this.#services);
  }
}

/** Ends a lease, also one that may have begun although the reply of the store was lost. */
export async function releaseClaim(claim: IdempotencyClaim, { store, repeats }: ExecutionServices): Promise<void> {
  const call = (): Promise<StoreFault | undefined> => store.release(claim);
  const fault = await call();
  if (fault?.outage === true) repeats.add(call, claim.leaseMs, 0);
}

/** Refusals that the next request may not get, though it is the same. */
const passing: ReadonlySet<number> = new Set([401, 403, 408, 409, 425, 429]);

/** Is a retry answered by a response of this status, instead of running the handler again? */
export function isFinal(status: number): boolean {
  return status >= 200 && status < 500 && !passing.has(status);
}

/**
 * Watches the response of an execution. A response is sent when it is stored, so that a client that has it, and asks again,
 * finds it.
 */
export function recordExecution(execution: Execution, maxBytes: number): Interceptor {
  let head: Omit<KeptResponse, "body"> | undefined;
  let length: string | undefined;
  let isDecided = false;
  /** Does the response wait on a context, from which middleware in front sends it? */
  let isHeld = false;
  let isTooLarge = false;

  function decide(outgoing: Outgoing, form: BodyForm): "follow" | "pass" {
    isDecided = true;
    const { status, fields, before } = outgoing;
    if (outgoing.afterError || !isFinal(status)) {
      execution.release();
      return "pass";
    }
    length = fieldText(fields["content-length"]);
    head = {
      ...{ status, form, sized: length !== undefined },
      fields: fieldsToStore(fields, before),
      removed: removedFields(fields, before),
    };
    return "follow";
  }

  function store(body: Uint8Array | undefined): void {
    if (head === undefined) return execution.release();
    const isWhole = body !== undefined && (length === undefined || Number(length) === body.byteLength);
    execution.store({ ...head, body: isWhole ? body : undefined });
  }

  return {
    hidden: [],
    maxBytes,
    readsUnsent: true,
    begin: (outgoing) => (isDecided ? "pass" : decide(outgoing, outgoing.body === undefined ? "parts" : "whole")),
    returned(response) {
      isHeld = true;
      const answer = decide(response, response.form ?? "bytes");
      // Its body cannot be read without consuming it.
      if (answer === "follow" && response.form === undefined) store(undefined);
      return response.form === undefined ? "pass" : answer;
    },
    failed() {
      isDecided = true;
      execution.release();
      return undefined;
    },
    sendingFailed() {
      head = undefined;
    },
    headSent: () => undefined,
    complete(body) {
      // A large body is sent to its end first, since a response that breaks off is not stored.
      if (body === undefined) isTooLarge = true;
      else store(body);
    },
    ending(body) {
      if (!isHeld || isTooLarge) store(isTooLarge ? undefined : body);
      return execution.settlement;
    },
  };
}
