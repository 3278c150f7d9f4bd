import { gunzipSync } from "node:zlib";
import type { ByteAnswer } from "../../support/http.js";
import type { Asked, Scenario } from "./scenarios.js";
import { cacheOptions } from "./scenarios.js";

/** Fields of the message and of its connection, and those that tell of the cache. */
const framing = ["date", "age", "cache-status", "connection", "keep-alive", "transfer-encoding", "content-length"];

/** Fields of one exchange, which a stored response does not repeat. */
const ofOneExchange = ["set-cookie", "x-request-id"];

/** What a 304 has to say again (RFC 9110 15.4.5). */
const onNotModified = ["cache-control", "content-location", "etag", "expires", "vary"];

export interface Compared {
  readonly onKoa: boolean;
  readonly scenario: Scenario;
  readonly asked: Asked;
  /** What the application says without a cache, and what it says to the same request without conditions. */
  readonly plain: ByteAnswer;
  readonly whole: ByteAnswer;
  /** What it says to GET, where that is a HEAD. */
  readonly asGet: ByteAnswer;
  readonly sent: Readonly<Record<string, string>>;
  readonly cached: ByteAnswer;
}

interface Exception {
  readonly difference: RegExp;
  readonly when: (compared: Compared) => boolean;
}

/** Differences that docs/response-cache.md names: the cache says 304 for a 200 alone, and sends field values as Latin-1. */
const documented: readonly Exception[] = [
  { difference: /^status 20[134] instead of 304$/, when: () => true },
  { difference: /^x-obs-text: \u00fc instead of \u00c3\u00bc$/, when: isFromStore },
];

/** In what the answer with the cache differs from the one without, but for what docs/response-cache.md names. */
export function differencesOf(compared: Compared): string[] {
  const isDocumented = (one: string): boolean =>
    documented.some(({ difference, when }) => difference.test(one) && when(compared));
  return allDifferences(compared).filter((one) => !isDocumented(one));
}

function allDifferences(compared: Compared): string[] {
  const { scenario, asked, plain, whole, asGet, sent, cached } = compared;
  const wasTold = plain.status === 304 && whole.status !== 304;
  const mayBeGood = sent.range === undefined && isGood(sent, whole);
  // Where the status is not 200, or the request says no-cache, either will do, unless the application has said 304 itself.
  const isSure = whole.status === 200 && sent["cache-control"] !== "no-cache";
  const isSuccess = whole.status >= 200 && whole.status <= 299;
  if (mayBeGood && isSuccess && !isSure && !wasTold && cached.status === 304) return [];
  const isUnchanged = wasTold || (isSure && mayBeGood);
  if (isUnchanged || plain.status === 304) {
    if (cached.status !== 304) return [`status ${cached.status} instead of 304`];
    // Compression says nothing of what it might have done where there is no body.
    const seen = (one: ByteAnswer, name: string): string =>
      name === "vary" ? String(one.headers.vary ?? "").replace(/(?:, |^)Accept-Encoding$/, "") : textOf(one, name);
    const fields = onNotModified.filter((name) => seen(cached, name) !== seen(whole, name) && !isMade(name));
    return [...fields.map((name) => told(name, whole)), ...(cached.bytes.length > 0 ? ["a 304 with a body"] : [])];
  }
  if (cached.status !== plain.status) return [`status ${cached.status} instead of ${plain.status}`];
  const names = new Set([...Object.keys(plain.headers), ...Object.keys(cached.headers)]);
  const differences = [...names]
    .filter((name) => !framing.includes(name) && !isOnce(name) && !isMade(name))
    // Frameworks say less of HEAD than of GET (RFC 9110 9.3.2); the cache says what it has.
    .filter((name) => ![plain, asGet].some((one) => textOf(cached, name) === textOf(one, name)))
    .map((name) => told(name, plain));
  if (!bodyOf(cached).equals(bodyOf(plain)))
    differences.push(`body ${JSON.stringify(bodyOf(cached).toString())} instead of ${bodyOf(plain).toString()}`);
  const length = cached.headers["content-length"];
  if (length !== undefined && asked.method === "GET" && cached.status !== 204 && Number(length) !== cached.bytes.length)
    differences.push(`content-length ${String(length)} of ${cached.bytes.length} bytes`);
  if (length === undefined && cached.status !== 204 && plain.headers["content-length"] !== undefined)
    differences.push("no content-length");
  return differences;

  /** An entity tag that the cache has made, where the application makes none. */
  function isMade(name: string): boolean {
    return name === "etag" && !("etag" in cacheOptions[scenario.cache]) && whole.headers.etag === undefined;
  }

  /** A stored response does not have it, one that was just made does. */
  function isOnce(name: string): boolean {
    return isFromStore(compared) && ofOneExchange.includes(name) && cached.headers[name] === undefined;
  }

  function told(name: string, expected: ByteAnswer): string {
    return `${name}: ${textOf(cached, name)} instead of ${textOf(expected, name)}`;
  }
}

/** Is it what another request got? */
export function isFromStore({ cached }: Pick<Compared, "cached">): boolean {
  return /; (?:hit|collapsed)/.test(textOf(cached, "cache-status"));
}

function textOf({ headers }: ByteAnswer, name: string): string {
  return String(headers[name]);
}

function bodyOf({ headers, bytes }: ByteAnswer): Buffer {
  if (headers["content-encoding"] !== "gzip" || bytes.length === 0) return bytes;
  try {
    return gunzipSync(bytes);
  } catch {
    return Buffer.concat([Buffer.from("not gzip: "), bytes]);
  }
}

/** Does the client have what it would get (RFC 9110 13.2.2)? */
function isGood(sent: Readonly<Record<string, string>>, whole: ByteAnswer): boolean {
  const list = sent["if-none-match"];
  const opaque = (tag: string): string => tag.trim().replace(/^W\//, "");
  const { etag, "last-modified": modified } = whole.headers;
  if (list === "*") return true;
  if (list !== undefined)
    return (
      etag !== undefined &&
      list
        .split(",")
        .map(opaque)
        .includes(opaque(String(etag)))
    );
  const since = Date.parse(sent["if-modified-since"] ?? "");
  return modified !== undefined && Date.parse(String(modified)) <= since;
}
