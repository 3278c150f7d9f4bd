import { lookup as resolve } from "node:dns";
import { isIP } from "node:net";
import type { LookupFunction } from "node:net";
import { reachOf } from "./private-address.js";

/** Why an address must not be connected to. */
export class AddressRefused extends Error {
  override readonly name = "AddressRefused";
}

/** Does the host of a URL stand for this machine itself? */
export function isLoopbackHost(hostname: string): boolean {
  const host = bare(hostname);
  return host === "localhost" || (isIP(host) !== 0 && reachOf(host) === "loopback");
}

/**
 * Which addresses a host may have: `localhost` and loopback addresses only loopback ones, and none unless loopback is
 * allowed; all others only public ones, unless private ones are allowed. So a name that somebody else controls leads into
 * no network but the public one.
 */
function createFilter(
  hostname: string,
  allowPrivateAddresses: boolean,
  allowLoopback: boolean,
): (address: string) => boolean {
  if (isLoopbackHost(hostname))
    return (address) => (allowLoopback || allowPrivateAddresses) && reachOf(address) === "loopback";
  return (address) => allowPrivateAddresses || reachOf(address) === "public";
}

/** Whether a host that the options do not name may be connected to, as far as the host alone says. */
export function isForeignHostAllowed(hostname: string, allowPrivateAddresses: boolean): boolean {
  if (allowPrivateAddresses) return true;
  const host = bare(hostname);
  return !isLoopbackHost(host) && (isIP(host) === 0 || reachOf(host) === "public");
}

/**
 * A look-up for one connection that gives it only addresses it may use: what is checked is what is connected to, since
 * there is no second look-up. A literal address is never looked up, so that is checked here and now.
 *
 * @throws AddressRefused for a literal address
 */
export function guardLookup(
  hostname: string,
  allowPrivateAddresses: boolean,
  using: typeof resolve = resolve,
  allowLoopback = true,
): LookupFunction {
  const isAllowed = createFilter(hostname, allowPrivateAddresses, allowLoopback);
  const literal = bare(hostname);
  if (isIP(literal) !== 0 && !isAllowed(literal)) throw refusal(hostname, allowLoopback);
  return function lookupAllowed(name, options, callback) {
    using(name, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, "", 0);
      const allowed = addresses.filter(({ address }) => isAllowed(address));
      const [first] = allowed;
      if (first === undefined) return callback(refusal(hostname, allowLoopback), "", 0);
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

function refusal(hostname: string, allowLoopback: boolean): AddressRefused {
  const advice = "if it is meant to, set remoteKeys: { allowPrivateAddresses: true }";
  if (!isLoopbackHost(hostname)) return new AddressRefused(`the host has a private address; ${advice}`);
  return new AddressRefused(
    allowLoopback
      ? "the host is meant to be this machine, but its address is not"
      : `the host is this machine, and the options do not name it; ${advice}`,
  );
}

/** A literal IPv6 address as it stands in a URL, without its brackets. */
function bare(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}
