import { abortOnDisconnect, createFacts, interceptResponse, onResponseEnd, readBody } from "@portcullis/core";
import type { Body, Exchange, Facts, Interceptor } from "@portcullis/core";
import type { Request, Response } from "express";

const exchangeKey = Symbol("portcullis.exchange");

interface Visited {
  [exchangeKey]?: ExpressExchange | undefined;
}

/** The exchange of a request: one for all gates and middleware it passes. */
export function exchangeOf(req: Request): Exchange<Request> {
  const visited = req as Request & Visited;
  return (visited[exchangeKey] ??= new ExpressExchange(req));
}

class ExpressExchange implements Exchange<Request> {
  readonly raw: Request;
  readonly facts: Facts = createFacts();
  #signal: AbortSignal | undefined;

  constructor(req: Request) {
    this.raw = req;
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
    return (this.#signal ??= abortOnDisconnect(this.raw.res as Response));
  }

  onClose(listener: (status: number) => void): void {
    onResponseEnd(this.raw.res as Response, listener);
  }

  intercept(interceptor: Interceptor): void {
    interceptResponse(this.raw, this.raw.res as Response, interceptor);
  }

  header(name: string): string | undefined {
    const value = this.raw.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  readBody(mostBytes: number): Promise<Body> {
    return readBody(this.raw, this.raw.body, mostBytes);
  }
}
