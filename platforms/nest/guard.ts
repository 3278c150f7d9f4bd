import { DenialError, StoreFault } from "@portcullis/express";
import { Catch } from "@nestjs/common";
import type { ArgumentsHost, CanActivate, ExceptionFilter, ExecutionContext } from "@nestjs/common";
import type { Request, RequestHandler, Response } from "express";

/** A guard of Nest from a middleware of the gate. */
export function guardOf(middleware: RequestHandler): CanActivate {
  return {
    canActivate(context: ExecutionContext): Promise<boolean> {
      const http = context.switchToHttp();
      const [req, res] = [http.getRequest<Request>(), http.getResponse<Response>()];
      return new Promise((resolve, reject) => {
        void middleware(req, res, (error?: unknown) => (error === undefined ? resolve(true) : reject(error as Error)));
      });
    },
  };
}

/** Answers refusals with all their fields, such as WWW-Authenticate and Retry-After. */
@Catch(DenialError, StoreFault)
export class DenialFilter implements ExceptionFilter {
  catch(error: DenialError | StoreFault, host: ArgumentsHost): void {
    const res = host.switchToHttp().getResponse<Response>();
    const problem = error instanceof DenialError ? error.problem : { status: error.status, code: error.code };
    res.status(error.status).set(error.headers).type("application/problem+json").json(problem);
  }
}
