import { createHash } from "node:crypto";
import type { Audience } from "../auth/verifier.js";
import { checkString, optionError } from "../lib/validate.js";

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
