import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** Recognises the devices on which an account has signed in before, by a token that the device keeps. */
export interface DeviceTokens {
  /** A new token of a device for this account. */
  issue(account: string): string;
  /** The device that the token names. Undefined if the token was not issued here, is for another account, or is expired. */
  read(token: unknown, account: string): string | undefined;
}

export interface DeviceTokenOptions {
  readonly secret: string | Uint8Array;
  readonly lifetimeMs: number;
  /** Unix milliseconds. */
  readonly now: () => number;
}

const shape = /^([A-Za-z0-9_-]{22})\.([0-9a-z]{1,9})\.([A-Za-z0-9_-]{43})$/;

/**
 * Device tokens have the form `<device>.<expiry>.<MAC>`: a random name, unix seconds in base 36, and an HMAC-SHA-256 (RFC 2104)
 * over both and the account. A device token signs nobody in: it only gives its device counters of its own.
 */
export function createDeviceTokens({ secret, lifetimeMs, now }: DeviceTokenOptions): DeviceTokens {
  const key = createHmac("sha256", secret).update("portcullis login device").digest();

  function sign(device: string, expiry: string, account: string): Buffer {
    return createHmac("sha256", key).update(`${device}.${expiry}.${account}`).digest();
  }

  return {
    issue(account) {
      const device = randomBytes(16).toString("base64url");
      const expiry = Math.floor((now() + lifetimeMs) / 1000).toString(36);
      return `${device}.${expiry}.${sign(device, expiry, account).toString("base64url")}`;
    },
    read(token, account) {
      const [, device, expiry, mac] = (typeof token === "string" ? shape.exec(token) : null) ?? [];
      if (device === undefined || expiry === undefined || mac === undefined) return undefined;
      if (!timingSafeEqual(Buffer.from(mac, "base64url"), sign(device, expiry, account))) return undefined;
      return Number.parseInt(expiry, 36) * 1000 > now() ? device : undefined;
    },
  };
}
