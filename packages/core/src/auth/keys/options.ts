import type { JSONWebKeySet } from "jose";
import type { IssuerTest } from "../verifier.js";
import type { KeySource } from "./key-source.js";
import type { PublicKeyOption } from "./public-keys.js";
import { createKeySet } from "./key-set.js";
import { createPublicKeys, createSomePublicKeys } from "./public-keys.js";
import type { KeyFunction } from "./key-function.js";
import { FunctionKeys } from "./key-function.js";
import { asymmetricAlgorithms, hmacAlgorithms } from "./algorithms.js";
import type { SecretOption } from "./secret-keys.js";
import { checkString, isList, optionError, strings, stringsOrNone } from "../../lib/validate.js";
import { isFetchable } from "./fetch-json.js";
import type { FetchFunction, FetchRules } from "./fetch-json.js";
import { guardLookup } from "./private-address.js";
import { RemoteKeys, TenantKeys } from "./remote-keys.js";
import type { RemoteKeysPolicy } from "./remote-keys.js";
import { createSecretKeys, refusePublicAlgorithms } from "./secret-keys.js";
import type { Telemetry } from "../../telemetry/telemetry.js";
import type { Logger } from "../../telemetry/logger.js";
import { durationMs } from "../../lib/duration.js";
import type { Duration } from "../../lib/duration.js";
import { checkBoolean, checkFunction, checkObject, rangeError } from "../../lib/validate.js";

/** How keys are fetched from an issuer, and how long they are used while it is unreachable. */
export interface RemoteKeysSettings {
  /** Age of keys at which they are fetched again in the background. @default "10m" */
  readonly refresh?: Duration | undefined;
  /** Maximum age of keys that are used while newer ones cannot be fetched. @default "24h" */
  readonly maxStale?: Duration | undefined;
  /** Minimum time between fetches triggered by an unknown `kid`, and before a retry after a failed fetch. @default "30s" */
  readonly cooldown?: Duration | undefined;
  /** Timeout of one attempt, for metadata and key set together. @default "5s" */
  readonly timeout?: Duration | undefined;
  /**
   * Allow issuers in a private network; for issuers that a function accepts, also on this machine. An issuer that the options
   * name may always be on localhost. @default false
   */
  readonly allowPrivateAddresses?: boolean | undefined;
  /**
   * Hosts inside a cluster that may be plain http and private, each with its port, as `["keycloak:8080"]`. Anyone on the way to
   * them can replace the keys, and then sign tokens. @default []
   */
  readonly allowHttp?: readonly string[] | undefined;
  /**
   * A function like the global `fetch` that fetches metadata and key sets, for a proxy, a private certificate authority or a
   * key set that needs credentials. The gate still checks address, status, size and time. @default node:http and node:https
   */
  readonly fetch?: FetchFunction | undefined;
}

/** Returns the key set of an issuer. It is called as often as a key set would be fetched, and never twice at once. */
export type JwksFunction = (request: {
  /** Aborted at `remoteKeys.timeout`. */
  readonly signal: AbortSignal;
}) => JSONWebKeySet | Promise<JSONWebKeySet>;

/** The options that give the keys of an issuer. */
export interface KeyOptions {
  readonly secret?: SecretOption | readonly SecretOption[] | KeyFunction<SecretOption> | undefined;
  readonly publicKey?: PublicKeyOption | readonly PublicKeyOption[] | KeyFunction<PublicKeyOption> | undefined;
  readonly jwks?: JSONWebKeySet | JwksFunction | undefined;
  readonly jwksUri?: string | undefined;
  readonly algorithms?: readonly string[] | undefined;
  readonly remoteKeys?: RemoteKeysSettings | undefined;
}

/** The keys of one issuer, or of all issuers that a function accepts. */
export interface IssuerKeys {
  of(issuer: string | undefined): KeySource;
  /** The same without fetching; undefined if a request would fetch the keys of this issuer first. @default `of` */
  known?(issuer: string | undefined): KeySource | undefined;
  status(): "up" | "down";
  close(): void;
}

export interface ResolvedKeys {
  readonly algorithms: readonly string[];
  /** Does the (unverified) issuer of a token choose its keys? */
  readonly byIssuer: boolean;
  /** May keys come by plain http from another machine? */
  readonly plainHttp?: boolean | undefined;
  /** Opens the keys; begins to fetch remote keys. */
  readonly open: (context: KeyContext) => IssuerKeys;
}

/** Where remote keys log and count their fetches. */
export interface KeyContext {
  readonly logger: Logger;
  readonly telemetry: Telemetry;
}

const keyOptions = ["secret", "publicKey", "jwks", "jwksUri"] as const;

/** Resolves the key options: exactly one of them, or an issuer whose keys are discovered. */
export function resolveKeys(
  option: string,
  options: KeyOptions,
  issuer: readonly string[] | IssuerTest | undefined,
): ResolvedKeys {
  const given = keyOptions.filter((name) => options[name] !== undefined);
  if (given.length > 1) throw optionError(option, `has ${given.join(" and ")}; give one of them`);
  const { secret, publicKey, jwks, jwksUri } = options;
  if (jwksUri !== undefined || typeof jwks === "function" || (given.length === 0 && issuer !== undefined)) {
    return resolveRemoteKeys(option, options, issuer);
  }
  if (options.remoteKeys !== undefined)
    throw optionError(
      `${option}.remoteKeys`,
      "has an effect only on keys that are fetched, by jwksUri, by discovery or by a function jwks",
    );
  if (given.length === 0) throw optionError(option, "needs one of secret, publicKey, jwks, jwksUri or issuer");
  if (options.algorithms === undefined) {
    throw optionError(
      `${option}.algorithms`,
      `is required with ${given.join("")}, such as ["${secret === undefined ? "RS256" : "HS256"}"]`,
    );
  }
  const algorithms = resolveAlgorithms(option, options.algorithms);
  if (typeof secret === "function") {
    const name = `${option}.secret`;
    refusePublicAlgorithms(algorithms);
    return byFunction(name, algorithms, issuer, secret, (keys) => createSecretKeys(name, keys, algorithms));
  }
  if (secret !== undefined) {
    const secrets = isList(secret) && !(secret instanceof Uint8Array) ? secret : [secret];
    if (secrets.length === 0) throw optionError(`${option}.secret`, "must not be an empty list");
    return fixed(algorithms, createSecretKeys(`${option}.secret`, secrets, algorithms));
  }
  refuseHmac(option, algorithms);
  if (jwks !== undefined) return fixed(algorithms, createKeySet(`${option}.jwks`, jwks, algorithms));
  if (typeof publicKey === "function") {
    const name = `${option}.publicKey`;
    return byFunction(name, algorithms, issuer, publicKey, (keys) => createSomePublicKeys(name, keys, algorithms));
  }
  const keys = isList(publicKey) ? publicKey : [publicKey as PublicKeyOption];
  if (keys.length === 0) throw optionError(`${option}.publicKey`, "must not be an empty list");
  return fixed(algorithms, createPublicKeys(`${option}.publicKey`, keys, algorithms));
}

function fixed(algorithms: readonly string[], keys: KeySource): ResolvedKeys {
  return { algorithms, byIssuer: false, open: () => always(keys) };
}

/** Keys that a function of the application finds by the issuer of a token, so that the token must name one. */
function byFunction<Key>(
  option: string,
  algorithms: readonly string[],
  issuer: readonly string[] | IssuerTest | undefined,
  find: KeyFunction<Key>,
  open: (keys: readonly Key[]) => KeySource,
): ResolvedKeys {
  if (issuer === undefined)
    throw optionError(option, "as a function needs the option issuer beside it: the issuers whose tokens are accepted");
  return {
    algorithms,
    byIssuer: true,
    open({ logger }) {
      const keys = new FunctionKeys({ option, find, open, logger });
      return { of: (name) => keys.of(name ?? ""), status: () => "up", close: () => undefined };
    },
  };
}

function always(keys: KeySource): IssuerKeys {
  return { of: () => keys, status: () => keys.status(), close: () => keys.close() };
}

function resolveRemoteKeys(
  option: string,
  options: KeyOptions,
  issuer: readonly string[] | IssuerTest | undefined,
): ResolvedKeys {
  const { jwks, jwksUri } = options;
  const algorithms =
    options.algorithms === undefined ? asymmetricAlgorithms : resolveAlgorithms(option, options.algorithms);
  refuseHmac(option, algorithms);
  const { remoteKeys = {} } = options;
  const policy = resolveRemoteKeysPolicy(`${option}.remoteKeys`, remoteKeys);
  const plainHttp = policy.allowHttp !== undefined && policy.allowHttp.length > 0;
  if (typeof jwks === "function") {
    for (const name of ["allowHttp", "allowPrivateAddresses", "fetch"] as const)
      if (remoteKeys[name] !== undefined)
        throw optionError(`${option}.remoteKeys.${name}`, "has no effect on a function jwks, which fetches by itself");
    return {
      algorithms,
      byIssuer: false,
      open: (context) => always(new RemoteKeys({ algorithms, ...policy, ...context, location: { jwks } })),
    };
  }
  if (jwksUri === undefined && typeof issuer === "function") {
    return {
      algorithms,
      byIssuer: true,
      plainHttp,
      open(context) {
        const openTenant = (tenant: string): KeySource =>
          new RemoteKeys({ algorithms, ...policy, ...context, location: { issuer: tenant }, isNamed: false });
        const tenants = new TenantKeys(openTenant, policy);
        return {
          of: (tenant) => tenants.of(tenant ?? ""),
          known: (tenant) => tenants.known(tenant ?? ""),
          status: () => tenants.status(),
          close: () => tenants.close(),
        };
      },
    };
  }
  const location = jwksUri === undefined ? { issuer: onlyIssuer(option, issuer as readonly string[]) } : { jwksUri };
  const url = jwksUri ?? onlyIssuer(option, issuer as readonly string[]);
  checkUrl(`${option}.${jwksUri === undefined ? "issuer" : "jwksUri"}`, url, policy);
  return {
    algorithms,
    byIssuer: false,
    plainHttp,
    open: (context) => always(new RemoteKeys({ algorithms, ...policy, ...context, location })),
  };
}

const dayMs = 86_400_000;

type ResolvedPolicy = RemoteKeysPolicy & FetchRules;

function resolveRemoteKeysPolicy(option: string, settings: RemoteKeysSettings): ResolvedPolicy {
  checkObject(option, settings, [
    ...["refresh", "maxStale", "cooldown", "timeout", "allowPrivateAddresses", "allowHttp", "fetch"],
  ]);
  const {
    refresh = "10m",
    maxStale = "24h",
    cooldown = "30s",
    timeout = "5s",
    allowPrivateAddresses = false,
    allowHttp = [],
    fetch,
  } = settings;
  checkBoolean(`${option}.allowPrivateAddresses`, allowPrivateAddresses);
  if (fetch !== undefined) checkFunction(`${option}.fetch`, fetch);
  const policy = {
    allowHttp: resolveHosts(`${option}.allowHttp`, allowHttp),
    fetch,
    refreshMs: durationMs(`${option}.refresh`, refresh, dayMs),
    maxStaleMs: durationMs(`${option}.maxStale`, maxStale, 30 * dayMs),
    cooldownMs: durationMs(`${option}.cooldown`, cooldown, dayMs),
    timeoutMs: durationMs(`${option}.timeout`, timeout, 60_000),
    allowPrivateAddresses,
  };
  if (policy.maxStaleMs <= policy.refreshMs)
    throw rangeError(
      `${option}.maxStale`,
      "must be longer than refresh, or keys would be given up before they are renewed",
    );
  return policy;
}

/** Hosts as a URL writes them: in lower case, and without the port 80. */
function resolveHosts(option: string, hosts: unknown): readonly string[] {
  return stringsOrNone(option, hosts).map((text) => {
    const url = URL.canParse(`http://${text}`) ? new URL(`http://${text}`) : undefined;
    if (url === undefined || url.href !== `http://${url.host}/` || /[/\s]/.test(text))
      throw optionError(option, 'must name hosts with their ports, such as ["keycloak:8080"]');
    return url.host;
  });
}

function resolveAlgorithms(option: string, given: readonly string[]): readonly string[] {
  const algorithms = strings(`${option}.algorithms`, given);
  for (const algorithm of algorithms) {
    if (Object.hasOwn(hmacAlgorithms, algorithm) || asymmetricAlgorithms.includes(algorithm)) continue;
    const all = [...Object.keys(hmacAlgorithms), ...asymmetricAlgorithms];
    const meant = all.find((one) => one.toLowerCase() === algorithm.trim().toLowerCase());
    const advice = meant === undefined ? "" : `; write "${meant}"`;
    throw optionError(`${option}.algorithms`, `has an unknown algorithm; known are ${all.join(", ")}${advice}`);
  }
  return algorithms;
}

/** A public key used as an HMAC secret would let anybody sign (RFC 8725 2.1), so the two kinds never mix. */
function refuseHmac(option: string, algorithms: readonly string[]): void {
  const hmac = algorithms.find((algorithm) => Object.hasOwn(hmacAlgorithms, algorithm));
  if (hmac === undefined) return;
  throw optionError(
    `${option}.algorithms`,
    `has "${hmac}", which needs ${option}.secret (not given); public keys never verify HMAC`,
  );
}

function onlyIssuer(option: string, issuers: readonly string[]): string {
  const [issuer, ...others] = issuers;
  if (issuer === undefined || others.length > 0)
    throw optionError(
      `${option}.issuer`,
      "must be one issuer if its keys are discovered; for several, use auth.issuers or a function",
    );
  return issuer;
}

function checkUrl(option: string, url: unknown, policy: ResolvedPolicy): void {
  checkString(option, url);
  if (!isFetchable(url, policy)) {
    const isHttp = URL.canParse(url) && new URL(url).protocol === "http:";
    const advice = isHttp ? `; inside a cluster, set remoteKeys: { allowHttp: ["${new URL(url).host}"] }` : "";
    throw optionError(option, `must be an https URL without a password (http only on localhost)${advice}`);
  }
  const { protocol, hostname } = new URL(url);
  try {
    if (protocol === "https:") guardLookup(hostname, policy.allowPrivateAddresses);
  } catch {
    throw optionError(
      option,
      "has a private address; if this is intended, set remoteKeys: { allowPrivateAddresses: true }",
    );
  }
}
