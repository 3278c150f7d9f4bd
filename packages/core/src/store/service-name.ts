import { createHash } from "node:crypto";
import type { Audience } from "../auth/verifier.js";
import { checkString, optionError } from "../lib/validate.js";

/** The service of a gate: what several services on one Redis must not share is kept under it. */
export interface ResolvedService {
  /** What option `service` says. */
  readonly name: string | undefined;
  /** The part of keys and channels that says the service. No two of a name, a digest and {@link unnamed} are equal. */
  readonly keyText: string;
}

/** The service of all gates that say neither `service` nor `auth.audience`. */
export const unnamed = "default";

export function checkService(service: unknown): asserts service is string {
  checkString("service", service);
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(service))
    throw optionError("service", 'must be 1 to 64 letters, digits, _, - and ., such as "orders-api"');
  if (service === unnamed)
    throw optionError("service", 'must not be "default", which stands for services without a name; say "orders-api"');
}

/** Expects a name that was checked. */
export function resolveService(
  name: string | undefined,
  auth: { readonly issuers: readonly { readonly audience: Audience }[] } | undefined,
): ResolvedService {
  if (name !== undefined) return { name, keyText: name };
  const audiences = (auth?.issuers ?? []).map(({ audience }) => audience);
  if (audiences.every((audience) => audience === false)) return { name, keyText: unnamed };
  const members = new Set(audiences.flatMap(membersOf));
  const digest = createHash("sha256").update(JSON.stringify([...members].sort()));
  // `~` is in no name.
  return { name, keyText: `~${digest.digest("hex").slice(0, 32)}` };
}

/** Claim and value of each audience, as text that says where each ends. */
function membersOf(audience: Audience): string[] {
  if (audience === false) return ["false"];
  const { claim, values } = "claim" in audience ? audience : { claim: "aud", values: audience };
  return values.map((value) => JSON.stringify([claim, value]));
}
