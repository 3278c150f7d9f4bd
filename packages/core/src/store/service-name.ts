import { createHash } from "node:crypto";
import type { Audience } from "../auth/audience.js";
import { operations } from "../lib/documentation.js";
import type { Finding } from "./ports/health.js";
import { checkString, optionError } from "../lib/validate.js";
import type { Logger } from "../telemetry/logger.js";

/** The service of a gate. Keys and channels that several services on one Redis must not share contain it. */
export interface ResolvedService {
  /** The value of option `service`. */
  readonly name: string | undefined;
  /** The service as part of keys and channels. A name, a digest and {@link unnamed} are never equal. */
  readonly keyText: string;
}

/** The service of all gates with neither `service` nor `auth.audience`. */
export const unnamed = "default";

export function checkService(service: unknown): asserts service is string {
  checkString("service", service);
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(service))
    throw optionError("service", 'must be 1 to 64 letters, digits, _, - and ., such as "orders-api"');
  if (service === unnamed)
    throw optionError("service", 'must not be "default", which stands for services without a name; say "orders-api"');
}

/** Takes the name, or a digest of the audiences. Expects a checked name. */
export function resolveService(
  name: string | undefined,
  auth: { readonly issuers: readonly { readonly audience: Audience }[] } | undefined,
): ResolvedService {
  if (name !== undefined) return { name, keyText: name };
  const audiences = (auth?.issuers ?? []).map(({ audience }) => audience);
  if (audiences.every((audience) => audience === false)) return { name, keyText: unnamed };
  const members = new Set(audiences.flatMap(membersOf));
  const digest = createHash("sha256").update(JSON.stringify([...members].sort()));
  // No name contains `~`.
  return { name, keyText: `~${digest.digest("hex").slice(0, 32)}` };
}

/** Claim and value of each audience, as unambiguous text. */
function membersOf(audience: Audience): string[] {
  if (audience === false) return ["false"];
  const { claim, values } = "claim" in audience ? audience : { claim: "aud", values: audience };
  return values.map((value) => JSON.stringify([claim, value]));
}

/**
 * Keys of a service without a name are in Redis. This is a warning: one service alone loses nothing. A second service without
 * a name would get the cached values, responses and one-time values of the first one, and wait for its locks.
 */
export const unnamedService: Finding = {
  code: "service_unnamed",
  severity: "warning",
  message:
    'all services without a name share their caches, locks and one-time values in Redis; name this one: service: "orders-api"',
};

/** Warns once, when a gate whose service has no name uses keys of its service in Redis. */
export class UnnamedServiceWarning {
  readonly #logger: Logger;
  #noted = false;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  get noted(): boolean {
    return this.#noted;
  }

  note(): void {
    if (this.#noted) return;
    this.#noted = true;
    const { code, severity, message } = unnamedService;
    this.#logger.warn({ code, severity }, `portcullis: ${message} (see ${operations}#${code})`);
  }
}
