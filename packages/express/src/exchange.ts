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
    return this.raw.app.get("trust proxy") === true;
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
}
