import type { Gate, PortcullisOptions } from "@portcullis/core";
import { createGate, errorOf, exchangeFor, lateError, NodeExchange, writeAnswer } from "@portcullis/core/adapter";
import type { Attachment, Check, RequestState, Verdict } from "@portcullis/core/adapter";
import type { IncomingMessage, ServerResponse } from "node:http";

export type Middleware = (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void;

/** A request of node:http as an exchange. No proxy is trusted here: the address is the address of the socket. */
class PlainExchange extends NodeExchange<IncomingMessage, RequestState> {
  constructor(req: IncomingMessage, res: ServerResponse, state: RequestState) {
    super(req, req, res, state);
  }

  get url(): string {
    return this.raw.url ?? "/";
  }

  get ip(): string | undefined {
    return this.raw.socket.remoteAddress;
  }

  get trustsEveryProxy(): boolean {
    return false;
  }

  get addressHeader(): string | undefined {
    return undefined;
  }

  protected get parsedBody(): unknown {
    return undefined;
  }
}

function bindCheck(check: Check<IncomingMessage>, property: string, attachment: Attachment): Middleware {
  async function decide(req: IncomingMessage, res: ServerResponse): Promise<boolean> {
    // The attachment separates the users that several gates identify on one request.
    const exchange = exchangeFor(req, attachment, (state) => new PlainExchange(req, res, state));
    let verdict: Verdict;
    try {
      verdict = await check(exchange);
    } catch (error) {
      // The gate counts each request once, also if an error handler lets it go on.
      exchange.state.fail(attachment, error);
      throw error;
    }
    if (!verdict.allowed) exchange.state.refuse(attachment, verdict);
    if (verdict.allowed) {
      exchange.state.showFacts(req, property);
      if (!res.headersSent) for (const [name, value] of verdict.headers) res.setHeader(name, value);
    } else if (res.headersSent) {
      const error = lateError(verdict);
      if (error !== undefined) throw error;
    } else writeAnswer(res, verdict);
    return verdict.allowed;
  }

  return function portcullisMiddleware(req, res, next) {
    decide(req, res).then(
      (allowed) => {
        if (allowed) next();
      },
      (thrown: unknown) => next(errorOf(thrown)),
    );
  };
}

export function portcullis(options: PortcullisOptions<IncomingMessage>): Gate<IncomingMessage, Middleware> {
  return createGate(options, bindCheck);
}
