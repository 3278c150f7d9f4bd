import { exchangeFor, isOutermost, NodeExchange, onHandlingEnd } from "@portcullis/core/adapter";
import type { Attachment, Handling, RequestState } from "@portcullis/core/adapter";
import type { Context, Middleware } from "koa";

/** The exchange of a context at this attachment. */
export function exchangeOf(ctx: Context, attachment: Attachment): KoaExchange {
  return exchangeFor(ctx, attachment, (state) => new KoaExchange(ctx, state));
}

export class KoaExchange extends NodeExchange<Context, RequestState> implements Handling {
  override readonly holdsResponse = true;
  /** The middleware that uses this exchange now. */
  middleware: Middleware | undefined;
  running = 0;
  awaiting: (() => void)[] | undefined;

  constructor(ctx: Context, state: RequestState) {
    super(ctx, ctx.req, ctx.res, state);
  }

  get isOutermost(): boolean {
    return isOutermost(this.raw.app.middleware as readonly object[], this.middleware);
  }

  get url(): string {
    return this.raw.originalUrl;
  }

  get ip(): string | undefined {
    // Not `ctx.ip`, which goes through two getters each time.
    const { ip } = this.raw.request;
    return ip === "" ? undefined : ip;
  }

  get trustsEveryProxy(): boolean {
    return this.raw.app.proxy && this.raw.app.maxIpsCount === 0;
  }

  get addressHeader(): string | undefined {
    const { proxy, proxyIpHeader } = this.raw.app;
    return proxy ? proxyIpHeader.toLowerCase() : undefined;
  }

  override onHandled(listener: () => void): void {
    onHandlingEnd(this, listener);
  }

  protected get parsedBody(): unknown {
    return (this.raw.request as { body?: unknown }).body;
  }
}
