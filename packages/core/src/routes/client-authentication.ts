import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Exchange } from "../http/exchange.js";
import { onlyField } from "../http/form.js";
import { isContradictory } from "../http/repeated-field.js";
import { checkObject, checkString, isList, kindOf, optionError } from "../lib/validate.js";

/** What a request says of the client that makes it (RFC 6749 2.3.1). */
export interface ClientCredentials {
  readonly id: string;
  /** Undefined for a public client. */
  readonly secret: string | undefined;
}

/** A client of an OAuth endpoint: what it must show. */
export type OAuthClient =
  /** A confidential client. Of several secrets each is good, so that one can take the place of another. */
  | { readonly secret: string | readonly string[]; readonly public?: undefined }
  /** A public client (RFC 6749 2.1), such as an app in a browser: it has no secret, and says only who it is. */
  | { readonly public: true; readonly secret?: undefined };

/** Clients by their ids. */
export type OAuthClients = Readonly<Record<string, OAuthClient>>;

type Secrets = readonly Buffer[] | "public";

/** What an unknown client is compared with, so that the time of the answer does not tell which clients exist. */
const unknownSecrets: Secrets = [randomBytes(32)];

/** Tells whether a client has shown that it is one of these (RFC 6749 2.3). */
export function resolveClients(option: string, clients: unknown): (client: ClientCredentials | undefined) => boolean {
  if (typeof clients !== "object" || clients === null || Array.isArray(clients))
    throw optionError(option, `must be an object such as { web: { secret } }, not ${kindOf(clients)}`);
  const known = new Map(Object.entries(clients).map(([id, client]) => [id, readSecrets(`${option}.${id}`, client)]));
  if (known.size === 0) throw optionError(option, "must name at least one client, such as { web: { secret } }");
  if (known.has("")) throw optionError(option, "must not have a client with an empty id");

  return function isKnown(client) {
    if (client === undefined) return false;
    const secrets = known.get(client.id) ?? unknownSecrets;
    // A client that sends a secret it cannot have is not the one that is meant. An empty one is none (RFC 6749 2.3.1).
    if (secrets === "public") return (client.secret ?? "") === "";
    const digest = digestOf(client.secret ?? "");
    // Each is compared, whichever fits.
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

/** Digests have one length, as the comparison needs it; that of a secret is not told either. */
function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/**
 * The client that a request names, in the Authorization header or in the form; undefined if it names none, null if it does
 * so in two ways (RFC 6749 2.3), or not in one that can be read.
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

/** Both parts are form-encoded before they are joined. */
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
