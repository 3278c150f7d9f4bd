import { exchangeFor, NodeExchange, shareHiddenClasses } from "@portcullis/core/adapter";
import type { Attachment, GateExchange, RequestState } from "@portcullis/core/adapter";
import type { Request, Response } from "express";

/** The exchange of a request at this attachment. */
export function exchangeOf(req: Request, attachment: Attachment): GateExchange<Request> {
  return exchangeFor(req, attachment, (state) => new ExpressExchange(req, state));
}

class ExpressExchange extends NodeExchange<Request, RequestState> {
  constructor(req: Request, state: RequestState) {
    const res = req.res as Response;
    // Only Express changes prototypes.
    if ((req.app as Request["app"] | undefined) !== undefined) shareHiddenClasses(req, req.res);
    super(req, req, res, state);
  }

  get url(): string {
    return this.raw.originalUrl;
  }

  get ip(): string | undefined {
    const { ip } = this.raw;
    if (ip !== undefined && ip !== "") return ip;
    // Adapters of serverless platforms put `ip` on the request itself, empty behind a load balancer. Express knows better.
    const app = this.raw.app as { readonly request?: object } | undefined;
    return app?.request === undefined ? ip : (Reflect.get(app.request, "ip", this.raw) as string | undefined);
  }

  get trustsEveryProxy(): boolean {
    return this.#setting("trust proxy") === true;
  }

  get addressHeader(): string | undefined {
    const trusts = this.#setting("trust proxy fn") as ((ip: string | undefined, hop: number) => boolean) | undefined;
    return trusts?.(this.raw.socket.remoteAddress, 0) === true ? "x-forwarded-for" : undefined;
  }

  protected get parsedBody(): unknown {
    return this.raw.body as unknown;
  }

  /** A setting of the application. A request of node:http has no application, so it has no settings. */
  #setting(name: string): unknown {
    return (this.raw.app as Request["app"] | undefined)?.get(name);
  }
}
