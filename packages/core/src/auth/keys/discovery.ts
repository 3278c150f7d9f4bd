import { FetchFailure, fetchJson, isFetchable } from "./fetch-json.js";
import type { FetchOptions } from "./fetch-json.js";
import { isLoopbackHost } from "./private-address.js";

/**
 * Reads the `jwks_uri` from the metadata of an issuer: OpenID Connect Discovery 1.0 4, or RFC 8414 3 if the issuer answers
 * 4xx. An outage does not lead to the second address.
 */
export async function discoverKeySet(issuer: string, options: FetchOptions): Promise<string> {
  const { openId, oauth } = metadataUrls(issuer);
  let metadata: unknown;
  try {
    metadata = await fetchJson(openId, options);
  } catch (error) {
    if (!(error instanceof FetchFailure) || !isClientError(error.status)) throw error;
    metadata = await fetchJson(oauth, options);
  }
  return keySetOf(metadata, issuer, options);
}

/** OpenID Connect appends its well-known path to the path of the issuer; RFC 8414 3.1 puts its own before it. */
export function metadataUrls(issuer: string): { readonly openId: string; readonly oauth: string } {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, "");
  return {
    openId: `${origin}${path}/.well-known/openid-configuration`,
    oauth: `${origin}/.well-known/oauth-authorization-server${path}`,
  };
}

function isClientError(status: number | undefined): boolean {
  return status !== undefined && status >= 400 && status < 500;
}

function keySetOf(metadata: unknown, issuer: string, options: FetchOptions): string {
  const { host } = new URL(issuer);
  if (typeof metadata !== "object" || metadata === null) {
    throw new FetchFailure(`${host}: the issuer's metadata is not an object`);
  }
  const { issuer: named, jwks_uri: jwksUri } = metadata as { issuer?: unknown; jwks_uri?: unknown };
  if (named !== issuer) throw new FetchFailure(`${host}: the issuer's metadata names another issuer`);
  if (typeof jwksUri !== "string" || !isFetchable(jwksUri, options)) {
    throw new FetchFailure(`${host}: the issuer's jwks_uri is not an https URL`);
  }
  // Another machine must not choose an address of this machine.
  const isHere = isLoopbackHost(new URL(issuer).hostname);
  if (isLoopbackHost(new URL(jwksUri).hostname) && !isHere && !options.allowPrivateAddresses) {
    throw new FetchFailure(`${host}: the issuer's jwks_uri is an address of this machine, but the issuer is elsewhere`);
  }
  return jwksUri;
}
