import type { AuthKeys } from "../auth/issuers.js";
import type { SeenAddresses } from "../limits/partition.js";
import type { Finding } from "../store/ports/health.js";
import type { ResolvedOptions } from "../options.js";
import { StoreFault } from "../store/ports/fault.js";
import { unnamedService } from "../store/service-name.js";
import type { PartsInUse, Stores } from "../store/stores.js";

export interface Examined<Raw> {
  readonly resolved: ResolvedOptions<Raw>;
  readonly stores: Stores;
  readonly keys: AuthKeys | undefined;
  /** The addresses of clients that requests have shown so far. */
  readonly addresses: SeenAddresses;
  /** The conflict about the issuer of shared keys, if there is one. */
  readonly sharedIssuer: { readonly conflict: string | undefined };
  readonly used: PartsInUse;
  /** Does a service without a name use keys of its service in Redis? */
  readonly unnamed: boolean;
}

/** Examines everything a gate depends on. It never rejects: a dependency that does not answer is a finding. */
export async function examineGate<Raw>({
  resolved,
  stores,
  keys,
  addresses,
  sharedIssuer,
  used,
  unnamed,
}: Examined<Raw>): Promise<Finding[]> {
  const { redis, keySecretChosen, storeChosen } = resolved;
  const findings: Finding[] = [];
  if (redis === undefined) {
    const severity = storeChosen ? "info" : "warning";
    findings.push({ code: "store_in_process", severity, message: "limits and revocations apply to this process only" });
  } else if (!keySecretChosen) {
    const message = "keySecret has its default value, which is public: addresses in Redis can be guessed";
    findings.push({ code: "key_secret_default", severity: "info", message });
  }
  if (unnamed) findings.push(unnamedService);
  findings.push(...(await stores.examine(used).catch((error: unknown) => describeFault(error, stores.cause()))));
  if (keys !== undefined && keys.status() !== "up") {
    findings.push({
      code: "keys_missing",
      severity: "error",
      message: "the keys of a token issuer have never been loaded",
    });
  }
  if (resolved.auth?.issuers.some((issuer) => issuer.keys.plainHttp === true) === true) {
    const message =
      "keys of a token issuer may come by plain http (remoteKeys.allowHttp): the network can replace them";
    findings.push({ code: "keys_over_http", severity: "warning", message });
  }
  if (addresses.trustsEveryProxy()) {
    const message = "the application trusts every proxy, so clients can choose the address that limits count by";
    findings.push({ code: "proxies_trusted", severity: "error", message });
  }
  if (addresses.distrustsProxy()) {
    const message = "requests come through a proxy that the application does not trust, so allow lists do not apply";
    findings.push({ code: "proxy_untrusted", severity: "error", message });
  }
  if (addresses.countsProxy() && !addresses.distrustsProxy()) {
    const message =
      "requests come through a proxy that the application does not trust, so all clients behind it count as one address";
    findings.push({ code: "proxy_untrusted", severity: "warning", message });
  }
  if (addresses.lacksAddresses()) {
    const message = "requests have no readable client address, so all of them count as one client";
    findings.push({ code: "address_missing", severity: "error", message });
  }
  const { conflict } = sharedIssuer;
  if (conflict !== undefined) findings.push({ code: "shared_issuer_taken", severity: "error", message: conflict });
  return findings;
}

const unknownAuthority = "the authority of its certificate is unknown: pass it as tls.ca";

/** The meaning of a cause, for an operator. */
const advice: Readonly<Record<string, string>> = {
  WRONGPASS: "the user or the password is wrong",
  NOAUTH: "Redis asks for a password",
  ECONNREFUSED: "nothing listens at this address",
  ENOTFOUND: "the name of the host is unknown",
  ETIMEDOUT: "nothing answers at this address, or TLS (rediss://) meets a port without TLS",
  ECONNRESET: "the other side ended the connection; a port with TLS needs rediss://",
  SELF_SIGNED_CERT_IN_CHAIN: unknownAuthority,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownAuthority,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownAuthority,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownAuthority,
  CERT_HAS_EXPIRED: "the certificate of the server has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "the certificate of the server is for another name",
  NOPERM: "the user lacks a permission",
  LOADING: "Redis is loading its data",
  MASTERDOWN: "a replica has lost its master",
  CLUSTERDOWN: "the Cluster does not serve all slots, or the client is one of a single server",
  READONLY: "the address leads to a replica",
  MISCONF: "Redis cannot write its snapshot to the disk",
  OOM: "the memory of Redis is full",
  MAXCLIENTS: "Redis has the maximum number of clients",
};

function describeFault(error: unknown, cause: string | undefined): Finding[] {
  const { kind, reply } = error instanceof StoreFault ? error : { kind: "unreachable", reply: undefined };
  const reason = cause ?? reply ?? kind;
  const hint = advice[reason] === undefined ? "" : `, ${advice[reason]}`;
  return [{ code: "store_unreachable", severity: "error", message: `Redis does not answer: ${reason}${hint}` }];
}
