// The gate's checks without a framework: core alone, called with exchanges made by hand.
import { RequestState, createGate } from "../../packages/core/dist/adapter.js";

/** A gate whose middleware are its checks. */
export function createBareGate(options) {
  return createGate(options, (check) => check);
}

const never = new AbortController().signal;

export class FakeExchange {
  raw = undefined;
  method = "GET";
  url = "/";
  state = new RequestState();
  #authorization;

  constructor(ip, authorization) {
    this.ip = ip;
    this.#authorization = authorization;
  }

  signal = never;

  onClose() {}

  intercept() {}

  header(name) {
    return name === "authorization" ? this.#authorization : undefined;
  }
}

/** An exchange whose response can end, which gives back what it held. */
export class EndingExchange extends FakeExchange {
  #listeners = [];

  onClose(listener) {
    this.#listeners.push(listener);
  }

  end(status) {
    for (const listener of this.#listeners) listener(status);
  }
}

/** A benchmark of refusals would be a benchmark of nothing. */
export function expectAllowed(verdict) {
  if (verdict.allowed !== true) throw new Error(`the gate refused: ${verdict.cause}`);
}

export function expectDenied(verdict, status) {
  if (verdict.allowed !== false) throw new Error("the gate let in what it must refuse");
  if (verdict.status !== status) throw new Error(`the gate refused with ${verdict.status}: ${verdict.cause}`);
}
