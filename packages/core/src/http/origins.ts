import { optionError, stringsOrNone } from "../lib/validate.js";

/** Origins of pages. */
export interface Origins {
  has(origin: string): boolean;
  /** The origins as they were configured, for logs. */
  readonly names?: readonly string[] | undefined;
}

/** Schemes whose pages say `Origin: null`, or that no page has. */
const withoutOrigin: ReadonlySet<string> = new Set([
  ...["about", "blob", "data", "file", "filesystem", "ftp", "javascript", "mailto", "view-source", "ws", "wss"],
]);

/** The origin of an app: `capacitor://localhost`, `tauri://localhost`, `chrome-extension://<id>`. URL does not know such origins. */
const appOrigin = /^([a-z][a-z0-9+.-]*):\/\/[A-Za-z0-9._-]{1,253}(?::[0-9]{1,5})?$/;

/** One or more labels of a host name. */
const labels = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/;

/**
 * Reads a list of origins: exact ones, those of apps, and `https://*.example.com`. The wildcard stands for one or more whole
 * labels of an http or https origin with this scheme and port: it matches `https://a.example.com` and
 * `https://b.a.example.com`, not `https://example.com`.
 */
export function resolveOrigins(option: string, list: unknown, own: readonly string[]): Origins {
  const exact = new Set(own);
  const wildcards: { readonly scheme: string; readonly end: string }[] = [];
  const given = stringsOrNone(option, list);
  const names = [...own, ...given];
  for (const text of given) {
    if (text.includes("*")) wildcards.push(readWildcard(option, text));
    else exact.add(readOrigin(option, text));
  }
  if (wildcards.length === 0) return { names, has: (origin) => exact.has(origin) };
  return {
    names,
    has: (origin) =>
      exact.has(origin) ||
      wildcards.some(
        ({ scheme, end }) =>
          origin.startsWith(scheme) && origin.endsWith(end) && labels.test(origin.slice(scheme.length, -end.length)),
      ),
  };
}

function readOrigin(option: string, text: string): string {
  if (text === "null")
    throw optionError(option, 'must not have "null": sandboxed frames, files and data: URLs of every author send it');
  if (/^https?:/i.test(text)) {
    if (URL.canParse(text) && new URL(text).origin === text) return text;
  } else {
    const scheme = appOrigin.exec(text)?.[1];
    if (scheme !== undefined && !withoutOrigin.has(scheme)) return text;
  }
  throw optionError(
    option,
    'must be origins as browsers send them, without a path, such as "https://app.example.com" or "capacitor://localhost"',
  );
}

function readWildcard(option: string, text: string): { readonly scheme: string; readonly end: string } {
  const [, scheme, host] = /^(https?:\/\/)\*\.([^*]+)$/.exec(text) ?? [];
  // A whole domain of one label, such as "com" and "com.", belongs to many owners.
  const isOwned = host !== undefined && (/^localhost(?::|$)/.test(host) || /[^.]\.[^.:]/.test(host));
  const example = `${scheme ?? ""}x.${host ?? ""}`;
  if (scheme === undefined || !isOwned || !URL.canParse(example) || new URL(example).origin !== example)
    throw optionError(
      option,
      'may have a wildcard only as the first label of a domain that is yours, as in "https://*.example.com"',
    );
  return { scheme, end: `.${host}` };
}
