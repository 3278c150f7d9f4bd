import {
  abortOnDisconnect,
  exchangeAt,
  interceptResponse,
  onHandlingEnd,
  onResponseEnd,
  readBody,
} from "@portcullis/core";
import type { Body, Exchange, Facts, Handling, Interceptor, Seat } from "@portcullis/core";
import type { Context } from "koa";

/** The exchange of a context, as middleware at this seat sees it. */
export function exchangeOf(ctx: Context, seat: Seat): Exchange<Context> & Handling {
  return exchangeAt(ctx, seat, (facts) => new KoaExchange(ctx, facts));
}

class KoaExchange implements Exchange<Context>, Handling {
  readonly raw: Context;
  readonly facts: Facts;
  running = 0;
  awaiting: (() => void)[] | undefined;

  constructor(ctx: Context, facts: Facts) {
    this.raw = ctx;
    this.facts = facts;
  }

  get method(): string {
    return this.raw.method;
  }

  get url(): string {
    return this.raw.originalUrl;
  }

  get ip(): string | undefined {
    return this.raw.ip === "" ? undefined : this.raw.ip;
  }

  get trustsEveryProxy(): boolean {
    return this.raw.app.proxy && this.raw.app.maxIpsCount === 0;
  }

  get addressHeader(): string | undefined {
    const { proxy, proxyIpHeader } = this.raw.app;
    return proxy ? proxyIpHeader.toLowerCase() : undefined;
  }

  get signal(): AbortSignal {
    return abortOnDisconnect(this.raw.res);
  }

  onClose(listener: (status: number) => void): void {
    onResponseEnd(this.raw.res, listener);
  }

  onHandled(listener: () => void): void {
    onHandlingEnd(this, listener);
  }

  intercept(interceptor: Interceptor): void {
    interceptResponse(this.raw.req, this.raw.res, interceptor);
  }

  get rawHeaders(): readonly string[] {
    return this.raw.req.rawHeaders;
  }

  header(name: string): string | undefined {
    const value = this.raw.headers[name];
    return typeof value === "object" ? value.join(", ") : value;
  }

  readBody(mostBytes: number): Promise<Body> {
    return readBody(this.raw.req, (this.raw.request as { body?: unknown }).body, mostBytes);
  }
}
