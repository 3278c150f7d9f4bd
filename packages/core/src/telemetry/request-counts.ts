import type { DenialCode } from "../http/verdict.js";
import { DenialError, isDenialCode, statusOf } from "../http/verdict.js";
import { total } from "./metrics.js";
import type { Metric } from "./metrics.js";

/**
 * A number of requests with one outcome. A request may leave it for another one. A counter must not fall: what was read once
 * stays until the number has caught up.
 */
export class RequestCount {
  readonly #status: number;
  #value = 0;
  #shown = 0;

  /** @param status Status of the response with this outcome. */
  constructor(status: number) {
    this.#status = status;
  }

  add(): void {
    this.#value += 1;
  }

  get value(): number {
    return this.#value;
  }

  takeBack(): void {
    this.#value -= 1;
  }

  /** May a response with this status have this outcome? Error handlers choose among the statuses of the server's faults. */
  explains(status: number): boolean {
    return this.#status === failedStatus ? status >= failedStatus : status === this.#status;
  }

  read(): number {
    this.#shown = Math.max(this.#shown, this.#value);
    return this.#shown;
  }
}

const failedStatus = 500;

/** The requests at a gate, each once, by outcome. */
export class RequestCounts {
  /** Requests that all middleware let pass, as far as is known: a later one may refuse them. */
  readonly allowed: RequestCount = new RequestCount(200);
  /** Requests that the gate has answered itself, before anything of it let them pass. */
  readonly answered: RequestCount = new RequestCount(200);
  /** Requests for which a function of the application threw while the gate decided. */
  readonly failed: RequestCount = new RequestCount(failedStatus);
  readonly #denied = new Map<DenialCode, RequestCount>();

  denied(code: DenialCode): RequestCount {
    let count = this.#denied.get(code);
    if (count === undefined) this.#denied.set(code, (count = new RequestCount(statusOf(code))));
    return count;
  }

  /** The count for an error that a check throws. */
  thrown(error: unknown): RequestCount {
    return error instanceof DenialError && isDenialCode(error.code) ? this.denied(error.code) : this.failed;
  }

  /** Takes back the second refusal of one request by checks that ran at the same time. It has left `allowed` for this count. */
  forgetSecond(refusal: RequestCount): void {
    refusal.takeBack();
    this.allowed.add();
  }

  /** All requests so far. */
  get total(): number {
    return [this.allowed, this.answered, ...this.refusals].reduce((sum, { value }) => sum + value, 0);
  }

  /** The counts of requests that did not pass and were not answered. */
  get refusals(): readonly RequestCount[] {
    return [this.failed, ...this.#denied.values()];
  }

  /** The metrics; {@link readDenied} has the refusals by code. */
  read(): readonly Metric[] {
    const [allowed, answered, failed] = [this.allowed.read(), this.answered.read(), this.failed.read()];
    const denied = [...this.#denied.values()].reduce((sum, count) => sum + count.read(), 0);
    return [
      {
        name: "portcullis_requests_total",
        help: "Requests, each once, by outcome.",
        type: "counter",
        samples: Object.entries({ allowed, denied, answered, failed }).map(([outcome, value]) => ({
          ...{ suffix: "", labels: { outcome }, value },
        })),
      },
      total("portcullis_allowed_total", "Requests that all middleware of the gate let pass.", allowed),
    ];
  }

  readDenied(): Metric {
    return {
      name: "portcullis_denied_total",
      help: "Requests refused, by code.",
      type: "counter",
      samples: [...this.#denied].map(([code, count]) => ({ suffix: "", labels: { code }, value: count.read() })),
    };
  }
}
