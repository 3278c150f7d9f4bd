import type { ResponseCacheOptions } from "@portcullis/core";
import type { RunningApp } from "./app.js";
import type { StartApp } from "./every-gate.js";
import type { OriginHandler } from "./origin.js";
import { origin } from "./origin.js";

export interface CachedApp extends RunningApp {
  /** How often the handler ran. */
  calls(): number;
}

/** Starts an application that answers every request with one handler, behind a guard and a cache of responses. */
export async function serveCached(
  start: StartApp,
  handle: OriginHandler,
  options: ResponseCacheOptions = {},
  gateOptions: Parameters<StartApp>[0] = {},
): Promise<CachedApp> {
  let calls = 0;
  const counted: OriginHandler = (request) => {
    calls += 1;
    return handle(request);
  };
  const app = await start(gateOptions, {
    routes: {},
    use: (gate) => [gate.guard({ optional: true }), gate.cacheResponse(options), origin(counted)],
  });
  return { ...app, calls: () => calls };
}

/** A promise and what settles it. */
export function latch(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
