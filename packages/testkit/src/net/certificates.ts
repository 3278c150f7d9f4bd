import { createSign, generateKeyPairSync, randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** A key with its certificate, in PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** A certificate authority for tests, with certificates of a server on loopback and of a client. */
export interface Certificates {
  /** The authority's certificate, in PEM. */
  readonly ca: string;
  readonly server: Identity;
  readonly client: Identity;
}

export interface CertificateOptions {
  /** Name the host alone and not its address, as certificates of hosting plans do. @default false */
  readonly hostOnly?: boolean | undefined;
}

/** Creates an authority with certificates of a server and a client (X.509, RFC 5280; ECDSA on P-256), valid for a day. */
export function makeCertificates({ hostOnly = false }: CertificateOptions = {}): Certificates {
  const authority = generateKeyPairSync("ec", { namedCurve: "P-256" });
  function issue(name: string, publicKey: KeyObject, extensions: readonly Buffer[]): string {
    return certify(name, publicKey, authority.privateKey, extensions);
  }
  function identify(name: string): Identity {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const key = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    return { key, cert: issue(name, publicKey, [hostOnly ? namesOf(localhost) : namesOf(localhost, loopback)]) };
  }
  return {
    ca: issue(AUTHORITY, authority.publicKey, [isAuthority]),
    server: identify("server"),
    client: identify("client"),
  };
}

const AUTHORITY = "portcullis test authority";
const DAY_MS = 86_400_000;

const der = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
};
const sequence = (...parts: Buffer[]): Buffer => der(0x30, ...parts);
const objectId = (...bytes: number[]): Buffer => der(0x06, Buffer.from(bytes));
const bits = (content: Buffer): Buffer => der(0x03, Buffer.from([0]), content);

const ecdsaWithSha256 = sequence(objectId(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));
const boolean = der(0x01, Buffer.from([255]));
/** basicConstraints, critical: an authority. */
const isAuthority = sequence(objectId(0x55, 0x1d, 0x13), boolean, der(0x04, sequence(boolean)));
const localhost = der(0x82, Buffer.from("localhost"));
const loopback = der(0x87, Buffer.from([127, 0, 0, 1]));
/** subjectAltName. */
const namesOf = (...names: Buffer[]): Buffer => sequence(objectId(0x55, 0x1d, 0x11), der(0x04, sequence(...names)));

function certify(name: string, key: KeyObject, signer: KeyObject, extensions: readonly Buffer[]): string {
  const content = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    commonName(AUTHORITY),
    sequence(time(Date.now() - DAY_MS), time(Date.now() + DAY_MS)),
    commonName(name),
    key.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...extensions)),
  );
  const signature = createSign("sha256").update(content).sign(signer);
  const body = sequence(content, ecdsaWithSha256, bits(signature)).toString("base64");
  return `-----BEGIN CERTIFICATE-----\n${body.match(/.{1,64}/g)?.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function commonName(name: string): Buffer {
  return sequence(der(0x31, sequence(objectId(0x55, 0x04, 0x03), der(0x0c, Buffer.from(name)))));
}

/** UTCTime: YYMMDDHHMMSSZ. */
function time(ms: number): Buffer {
  return der(0x17, Buffer.from(`${new Date(ms).toISOString().replace(/\D/g, "").slice(2, 14)}Z`));
}
