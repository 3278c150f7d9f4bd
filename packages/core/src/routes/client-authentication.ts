import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Exchange } from "../http/exchange.js";
import { onlyField } from "../http/form.js";
import { isContradictory } from "../http/fields.js";
import { checkObject, checkString, isList, kindOf, optionError } from "../lib/validate.js";

/** The credentials of a client in a request (RFC 6749 2.3.1). */
export interface ClientCredentials {
  /** Identifier of the client. */
  readonly id: string;
  /** Undefined for a public client. */
  readonly secret: string | undefined;
}

/** A client of an OAuth endpoint, and its secret. */
export type OAuthClient =
  /** A confidential client. Each secret of a list is accepted, so that secrets can be replaced. */
  | { readonly secret: string | readonly string[]; readonly public?: undefined }
  /** A public client (RFC 6749 2.1), such as an app in a browser: it has an id and no secret. */
  | { readonly public: true; readonly secret?: undefined };

/** Clients by their ids. */
export type OAuthClients = Readonly<Record<string, OAuthClient>>;

type Secrets = readonly Buffer[] | "public";

/** Compared with the secret of an unknown client, so that the response time does not reveal which clients exist. */
const unknownSecrets: Secrets = [randomBytes(32)];

/** Returns a function that authenticates clients (RFC 6749 2.3). */
export function resolveClients(option: string, clients: unknown): (client: ClientCredentials | undefined) => boolean {
  if (typeof clients !== "object" || clients === null || Array.isArray(clients))
    throw optionError(option, `must be an object such as { web: { secret } }, not ${kindOf(clients)}`);
  const known = new Map(Object.entries(clients).map(([id, client]) => [id, readSecrets(`${option}.${id}`, client)]));
  if (known.size === 0) throw optionError(option, "must name at least one client, such as { web: { secret } }");
  if (known.has("")) throw optionError(option, "must not have a client with an empty id");

  return function isKnown(client) {
    if (client === undefined) return false;
    const secrets = known.get(client.id) ?? unknownSecrets;
    // A public client has no secret: a request with one is from another client. An empty secret counts as none (RFC 6749 2.3.1).
    if (secrets === "public") return (client.secret ?? "") === "";
    const digest = digestOf(client.secret ?? "");
    // All are compared, so that the time does not reveal which one fits.
    return secrets.filter((secret) => timingSafeEqual(secret, digest)).length > 0;
  };
}

function readSecrets(option: string, client: unknown): Secrets {
  checkObject(option, client, ["secret", "public"]);
  const { secret, public: isPublic } = client as { readonly secret?: unknown; readonly public?: unknown };
  if (isPublic !== undefined && isPublic !== true)
    throw optionError(`${option}.public`, "must be true or left out; a client with a secret is { secret }");
  if (isPublic === true) {
    if (secret === undefined) return "public";
    throw optionError(option, "must be either { secret } or { public: true }: a public client has no secret");
  }
  if (secret === undefined)
    throw optionError(`${option}.secret`, "is missing; a client without a secret is { public: true }");
  const secrets: readonly unknown[] = isList(secret) ? secret : [secret];
  if (secrets.length === 0) throw optionError(`${option}.secret`, "must not be an empty list");
  return secrets.map((one) => {
    checkString(`${option}.secret`, one);
    if (one.trim() === "") throw optionError(`${option}.secret`, "must not consist of blanks");
    return digestOf(one);
  });
}

/** Digests have one length, as the comparison needs, and hide the length of the secret. */
function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/**
 * The client that a request names in the Authorization header or in the form. Undefined if it names none. Null if it names
 * one twice (RFC 6749 2.3), or in a way that cannot be read.
 */
export function readClient<Raw>(
  exchange: Exchange<Raw>,
  fields: URLSearchParams,
): ClientCredentials | undefined | null {
  const basic = isContradictory(exchange, "authorization") ? null : readBasic(exchange.header("authorization"));
  const [id, secret] = [onlyField(fields, "client_id"), onlyField(fields, "client_secret")];
  if (basic === null || id === null || secret === null) return null;
  if (basic !== undefined) return secret === undefined && (id ?? basic.id) === basic.id ? basic : null;
  if (id === undefined) return secret === undefined ? undefined : null;
  return { id, secret };
}

/** Reads HTTP Basic. Both parts were form-encoded before they were joined. */
function readBasic(header: string | undefined): ClientCredentials | undefined | null {
  const [, encoded] = /^basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(header ?? "") ?? [];
  if (encoded === undefined) return /^basic\b/i.test(header ?? "") ? null : undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  try {
    const [id, secret] = [text.slice(0, colon), text.slice(colon + 1)].map((part) =>
      decodeURIComponent(part.replaceAll("+", " ")),
    );
    return colon < 1 || id === undefined || secret === undefined ? null : { id, secret };
  } catch {
    return null;
  }
}
