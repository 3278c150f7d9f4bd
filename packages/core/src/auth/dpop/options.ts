import type { AsymmetricAlgorithm } from "../keys/algorithms.js";
import { asymmetricAlgorithms } from "../keys/algorithms.js";
import type { Duration } from "../../lib/duration.js";
import { durationMs } from "../../lib/duration.js";
import { checkBoolean, checkObject, optionError, strings } from "../../lib/validate.js";

/** Tokens bound to a key of the client (DPoP, RFC 9449). */
export interface DpopOptions {
  /** Refuse tokens that are bound to no key. @default false */
  readonly required?: boolean | undefined;
  /** Accepted signature algorithms of proofs. @default all asymmetric algorithms */
  readonly algorithms?: readonly AsymmetricAlgorithm[] | undefined;
  /** Maximum age of a proof. @default "60s" */
  readonly maxAge?: Duration | undefined;
  /**
   * Require a nonce of the gate in every proof (RFC 9449 8, 9), so that proofs cannot be made in advance. Needs `keySecret`.
   * @default false
   */
  readonly nonce?: boolean | undefined;
}

/** The options of `auth.dpop` after they were checked. */
export interface ResolvedDpop {
  readonly required: boolean;
  readonly algorithms: readonly string[];
  readonly maxAgeSeconds: number;
  /** Base of the URLs that proofs name: `publicUrl`. */
  readonly baseUrl: string;
  /** Secret of the nonces; undefined if proofs need none. */
  readonly nonceSecret: string | undefined;
}

/** Other options that DPoP needs. */
export interface DpopContext {
  readonly publicUrl: string | undefined;
  /** Undefined for the default, which is public. */
  readonly keySecret: string | undefined;
}

export function resolveDpop(options: boolean | DpopOptions, context: DpopContext): ResolvedDpop | undefined {
  if (options === false) return undefined;
  const given = options === true ? {} : options;
  checkObject("auth.dpop", given, ["required", "algorithms", "maxAge", "nonce"]);
  const { required = false, algorithms = asymmetricAlgorithms, maxAge = "60s", nonce = false } = given;
  checkBoolean("auth.dpop.required", required);
  checkBoolean("auth.dpop.nonce", nonce);
  const { publicUrl, keySecret } = context;
  if (publicUrl === undefined)
    throw optionError("publicUrl", "is required with auth.dpop: proofs name the URL they are for");
  if (nonce && keySecret === undefined)
    throw optionError("keySecret", "is required with auth.dpop.nonce: with the default, anybody can make nonces");
  const unknown = strings("auth.dpop.algorithms", algorithms).find((one) => !asymmetricAlgorithms.includes(one));
  if (unknown !== undefined) throw optionError("auth.dpop.algorithms", `must be of ${asymmetricAlgorithms.join(", ")}`);
  return {
    required,
    algorithms,
    maxAgeSeconds: durationMs("auth.dpop.maxAge", maxAge, 600_000) / 1000,
    baseUrl: publicUrl,
    nonceSecret: nonce ? keySecret : undefined,
  };
}
