import { IncomingMessage } from "node:http";
import { optionError } from "./validate.js";

/** Is it the first argument of a middleware: a request, or a context of Koa? */
function isRequest(value: unknown): boolean {
  if (value instanceof IncomingMessage) return true;
  if (typeof value !== "object" || value === null) return false;
  const { method, url, headers, req } = value as { method?: unknown; url?: unknown; headers?: unknown; req?: unknown };
  if (req instanceof IncomingMessage) return true;
  return typeof method === "string" && typeof url === "string" && typeof headers === "object" && headers !== null;
}

/** Refuses a call by a framework: its request came where the options belong. */
export function refuseRequest(option: string, value: unknown, write: string): void {
  if (isRequest(value)) throw optionError(option, `was given to the application without being called; write ${write}`);
}

/** The arguments of functions that make middleware, for their errors. */
const middlewareExamples = {
  ...{
    guard: "",
    authenticate: "",
    limit: "{ name, per, limit, window }",
    throttleLogin: "{ account }",
    requestCache: "",
  },
  ...{ cacheResponse: "", idempotency: "", events: "{ channel }", requireScopes: '"orders:read"' },
  ...{ requireAnyScope: '"orders:read"', requireClaim: '"plan", "pro"', requireRole: '"admin"' },
  ...{ requireRecentAuth: '{ maxAge: "15m" }', unless: "{ path }, gate.guard()", when: "{ path }, gate.guard()" },
  ...{ some: "gate.guard(), gate.guard()", optional: "gate.guard()" },
};
const routeExamples = { resourceMetadata: "", health: "", jwks: "", revoke: "", backchannelLogout: "{}", metrics: "" };

/**
 * Lets the functions of a gate that make middleware refuse a request as their first argument: `app.use(gate.guard)` instead of
 * `app.use(gate.guard())` would leave requests without an answer.
 */
export function refuseUncalled(gate: { readonly routes: object }): void {
  wrap(gate, "gate", middlewareExamples);
  wrap(gate.routes, "gate.routes", routeExamples);
}

function wrap(made: object, owner: string, examples: Readonly<Record<string, string>>): void {
  for (const [name, example] of Object.entries(examples)) {
    const make = (made as Record<string, ((...args: unknown[]) => unknown) | undefined>)[name];
    if (make === undefined) continue;
    Object.defineProperty(made, name, {
      value: (...args: unknown[]) => {
        refuseRequest(`${owner}.${name}`, args[0], `app.use(${owner}.${name}(${example}))`);
        return make(...args);
      },
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
}
