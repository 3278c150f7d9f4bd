import { kindOf } from "../lib/validate.js";

/**
 * The subject of a refusal, for logs: names from the options, kinds, digests and numbers. Texts are printable ASCII of at most
 * 200 characters. It holds no token, key, secret, address or name of a user.
 */
export interface DenialDetail {
  /** The claim of the token that is missing or wrong; a path of names with dots for a member of a claim. */
  readonly claim?: string | undefined;
  /** The field of the request, its cookie, or the parameter in the header of the token that is missing or wrong. */
  readonly header?: string | undefined;
  /** The accepted values, as the options say them, or their kind. */
  readonly expected?: string | undefined;
  /** The kind of the value that was found. The value itself for names of services and algorithms: `aud`, `iss`, `alg`, scopes. */
  readonly found?: string | undefined;
  /** The limits that refuse, or the login throttle. The rest of the detail is about the first of them. */
  readonly policy?: string | undefined;
  /** The client that the policy counts: its kind, and a digest that is the same for all requests of this client. */
  readonly key?: string | undefined;
  /** Requests (or units of cost) per window of that policy. */
  readonly limit?: number | undefined;
  /** Length of its window in seconds. */
  readonly windowSeconds?: number | undefined;
  /** Seconds until the client may come again. */
  readonly retryAfterSeconds?: number | undefined;
  /** The reason for which a dependency does not answer. */
  readonly reason?: string | undefined;
}

/** Makes the detail of a refusal when somebody wants to know it. */
export type DescribeDenial = () => DenialDetail;

/** The detail without the members that have no value; undefined if none has. */
export function readDetail(describe: DescribeDenial): DenialDetail | undefined {
  const members = Object.entries(describe()).filter(([, value]) => value !== undefined);
  return members.length === 0 ? undefined : Object.fromEntries(members);
}

const maxText = 100;
const maxShown = 200;

/** A text that somebody else has chosen, in quotes: bounded, on one line, without control characters. Never a token. */
export function quoted(text: string): string {
  if (/eyJ[\w-]{5,}/.test(text)) return "a JWT";
  const short = text.length > maxText ? `${text.slice(0, maxText)}...` : text;
  return `"${short.replace(/[^\x20-\x7e]/g, "?").replace(/["\\]/g, "'")}"`;
}

/** The texts of a list in quotes, as far as there is room. */
export function quotedList(texts: readonly string[], conjunction = "or"): string {
  if (texts.length === 0) return "none";
  let shown = "";
  for (const [index, text] of texts.entries()) {
    const next = `${shown}${index === 0 ? "" : ` ${conjunction} `}${quoted(text)}`;
    if (next.length > maxShown && shown !== "") return `${shown} ${conjunction} ${texts.length - index} more`;
    shown = next;
  }
  return shown;
}

/** The kind of a value of a token, which may be the name of a user. */
export function kindFound(value: unknown): string {
  if (value === undefined) return "none";
  if (value === "") return "an empty text";
  if (typeof value === "string") return "text";
  if (typeof value === "number") return Number.isSafeInteger(value) ? "an integer" : "a number that is no safe integer";
  return typeof value === "boolean" ? `the value ${value}` : kindOf(value);
}

/** A plain name in a token that is not verified, such as an algorithm. Any other text there may be an attack on readers of logs. */
export function plainFound(value: unknown): string {
  if (typeof value !== "string" || value === "") return kindFound(value);
  return /^\w[\w.+-]{0,63}$/.test(value) ? quoted(value) : `text of ${value.length} characters`;
}

/** The issuer of a token that is not verified. */
export function urlFound(issuer: string): string {
  return /^https?:\/\/[\w.-]+(?::\d+)?(?:\/[\w./-]*)?$/.test(issuer)
    ? quoted(issuer)
    : `text of ${issuer.length} characters`;
}

/** The origin of a request or of a proof, which clients choose. */
export function originFound(origin: string): string {
  return origin === "null" || /^[a-z][a-z0-9+.-]*:\/\/[\w.:[\]-]+$/i.test(origin)
    ? quoted(origin)
    : `text of ${origin.length} characters`;
}

/** A text that is no name of a user, such as the name of an algorithm; the kind of any other value. */
export function textFound(value: unknown): string {
  return typeof value === "string" ? quoted(value) : kindFound(value);
}

/** A claim with names of services: `aud`, `iss`, or scopes. */
export function namesFound(value: unknown): string {
  const texts: readonly unknown[] = Array.isArray(value) ? value : [value];
  return texts.length > 0 && texts.every((text) => typeof text === "string")
    ? quotedList(texts, "and")
    : kindFound(value);
}

/** A time of a token, in unix seconds, seen from now. */
export function timeFound(seconds: unknown, nowSeconds: number): string {
  if (typeof seconds !== "number") return kindFound(seconds);
  const away = Math.round(seconds - nowSeconds);
  return away > 0 ? `${away} s in the future` : `${-away} s ago`;
}

/** The detail in words, for one line of text. */
export function textOfDetail(detail: DenialDetail): string {
  const { claim, header, expected, found, policy, key, limit, windowSeconds, retryAfterSeconds, reason } = detail;
  const rate =
    limit === undefined ? undefined : `${limit}${windowSeconds === undefined ? "" : ` in ${windowSeconds} s`}`;
  const parts: readonly (readonly [string, string | number | undefined])[] = [
    ["claim ", claim],
    ["header ", header],
    ["policy ", policy],
    ["limit ", rate],
    ["of ", key],
    ["expected ", expected],
    ["found ", found],
    ["reason ", reason],
    ["retry in ", retryAfterSeconds === undefined ? undefined : `${retryAfterSeconds} s`],
  ];
  return parts.flatMap(([name, text]) => (text === undefined ? [] : [`${name}${text}`])).join(", ");
}

/** The cause with its detail. */
export function fullCause(cause: string, detail: DenialDetail | undefined): string {
  const text = detail === undefined ? "" : textOfDetail(detail);
  return text === "" ? cause : `${cause}: ${text}`;
}
