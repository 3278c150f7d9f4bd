import {
  abortOnDisconnect,
  exchangeAt,
  interceptResponse,
  onHandlerEnd,
  onResponseEnd,
  readBody,
} from "@portcullis/core";
import type { Body, Exchange, Facts, Interceptor, Seat } from "@portcullis/core";
import type { Request, Response } from "express";

/** The exchange of a request, as middleware at this seat sees it. */
export function exchangeOf(req: Request, seat: Seat): Exchange<Request> {
  return exchangeAt(req, seat, (facts) => new ExpressExchange(req, facts));
}

class ExpressExchange implements Exchange<Request> {
  readonly raw: Request;
  readonly facts: Facts;

  constructor(req: Request, facts: Facts) {
    this.raw = req;
    this.facts = facts;
  }

  get method(): string {
    return this.raw.method;
  }

  get url(): string {
    return this.raw.originalUrl;
  }

  get ip(): string | undefined {
    return this.raw.ip;
  }

  get trustsEveryProxy(): boolean {
    return this.#setting("trust proxy") === true;
  }

  get addressHeader(): string | undefined {
    const trusts = this.#setting("trust proxy fn") as ((ip: string | undefined, hop: number) => boolean) | undefined;
    return trusts?.(this.raw.socket.remoteAddress, 0) === true ? "x-forwarded-for" : undefined;
  }

  get signal(): AbortSignal {
    return abortOnDisconnect(this.raw.res as Response);
  }

  onClose(listener: (status: number) => void): void {
    onResponseEnd(this.raw.res as Response, listener);
  }

  onHandled(listener: () => void): void {
    onHandlerEnd(this.raw.res as Response, listener);
  }

  intercept(interceptor: Interceptor): void {
    interceptResponse(this.raw, this.raw.res as Response, interceptor);
  }

  get rawHeaders(): readonly string[] {
    return this.raw.rawHeaders;
  }

  header(name: string): string | undefined {
    const value = this.raw.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  readBody(mostBytes: number): Promise<Body> {
    return readBody(this.raw, this.raw.body, mostBytes);
  }

  /** A request of node:http itself has no application, and so no settings. */
  #setting(name: string): unknown {
    return (this.raw.app as Request["app"] | undefined)?.get(name);
  }
}
