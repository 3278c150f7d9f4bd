import { createHash, timingSafeEqual } from "node:crypto";
import type { Exchange } from "../http/exchange.js";
import { isContradictory } from "../http/fields.js";
import { checkBoolean, checkObject, checkString, optionError } from "../lib/validate.js";

/**
 * The certificate of a client: PEM, base64 of DER, the form of a header (RFC 9440, URL-encoded PEM), the bytes of DER, or an
 * object with these bytes, such as an X509Certificate or the result of `getPeerCertificate()`. Undefined: there is none.
 */
export type ClientCertificate = string | Uint8Array | { readonly raw: Uint8Array } | undefined;

/** The place of the client certificate of a request. */
export type CertificateSource<Raw> = "socket" | { readonly header: string } | ((raw: Raw) => ClientCertificate);

/** How tokens that are bound to a client certificate are proven (RFC 8705 3). */
export interface CertificateBoundOptions<Raw = unknown> {
  /**
   * `"socket"`: the TLS connection with this process, which must request certificates. `{ header }`: a header that the proxy in
   * front sets or removes in every request. Or a function of the request.
   */
  readonly from: CertificateSource<Raw>;
  /** Refuse tokens that are bound to no certificate. @default false */
  readonly required?: boolean | undefined;
}

/** The option `auth.certificateBound` after it was checked. */
export interface ResolvedCertificateBound<Raw> {
  readonly accepted: boolean;
  readonly required: boolean;
  /** Reads the certificate that the gate compares; undefined if a proxy compares it. */
  readonly read: ((exchange: Exchange<Raw>) => ClientCertificate) | undefined;
}

export function resolveCertificateBound<Raw>(given: unknown): ResolvedCertificateBound<Raw> {
  const option = "auth.certificateBound";
  if (typeof given !== "object" || given === null) {
    checkBoolean(option, given);
    return { accepted: given, required: false, read: undefined };
  }
  checkObject(option, given, ["from", "required"]);
  const { from, required = false } = given as Partial<CertificateBoundOptions<Raw>>;
  checkBoolean(`${option}.required`, required);
  return { accepted: true, required, read: readerOf(`${option}.from`, from) };
}

function readerOf<Raw>(
  option: string,
  from: CertificateSource<Raw> | undefined,
): ResolvedCertificateBound<Raw>["read"] {
  if (from === "socket") return (exchange) => exchange.peerCertificate;
  if (typeof from === "function") return (exchange) => presentNow(from(exchange.raw));
  if (typeof from !== "object" || (from as unknown) === null)
    throw optionError(option, 'must be "socket", { header: "..." }, or a function of the request');
  checkObject(option, from, ["header"]);
  checkString(`${option}.header`, from.header);
  const name = from.header.toLowerCase();
  // A proxy that adds its line instead of replacing those of the client would let the client choose.
  return (exchange) => (isContradictory(exchange, name) ? undefined : exchange.header(name));
}

/** A promise is no certificate, and its failure would end the process. Null means none, as in many libraries. */
function presentNow(certificate: unknown): ClientCertificate {
  if (certificate instanceof Promise) {
    certificate.catch(() => undefined);
    throw new TypeError(
      "the function in auth.certificateBound.from must return a certificate or undefined at once, not a promise",
    );
  }
  return (certificate ?? undefined) as ClientCertificate;
}

/** Does the certificate have the thumbprint (`x5t#S256`) that a token is bound to? */
export function hasThumbprint(certificate: ClientCertificate, thumbprint: string): boolean {
  const der = derOf(certificate);
  if (der === undefined || der.length === 0) return false;
  const expected = Buffer.from(thumbprint, "base64url");
  const actual = createHash("sha256").update(der).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** Longest certificate in a header. */
const maxLength = 16_384;

/** The bytes of a certificate; undefined for a text that has none. */
function derOf(certificate: ClientCertificate): Uint8Array | undefined {
  if (certificate === undefined) return undefined;
  if (certificate instanceof Uint8Array) return certificate;
  if (typeof certificate !== "string") {
    const { raw } = certificate as { readonly raw?: unknown };
    return raw instanceof Uint8Array ? raw : undefined;
  }
  if (certificate.length > maxLength) return undefined;
  const text = unescape(certificate.trim());
  if (text === undefined) return undefined;
  const pem = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/.exec(text)?.[1];
  // RFC 9440 writes a Byte Sequence: base64 between colons.
  const base64 = (pem ?? text.replace(/^:(.*):$/, "$1")).replaceAll(/\s/g, "");
  return /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, "base64") : undefined;
}

function unescape(text: string): string | undefined {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
