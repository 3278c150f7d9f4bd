/** The answer while a dependency is unavailable. Nobody knows when an outage ends, so the client may ask again soon. */
export const outage: { readonly status: 503; readonly headers: { readonly "Retry-After": string } } = {
  status: 503,
  headers: { "Retry-After": "1" },
};

/** An error that Express and Koa answer with 503 and `Retry-After` if nothing else handles it. */
export abstract class OutageError extends Error {
  /** Status of the response. */
  readonly status: 503 = outage.status;
  /** The same, as Express and other frameworks name it. */
  readonly statusCode: 503 = outage.status;
  /** Koa and http-errors: the message may be shown to clients. */
  readonly expose = true;
  /** Header fields of the response. */
  readonly headers: Readonly<Record<string, string>> = { ...outage.headers };
}
