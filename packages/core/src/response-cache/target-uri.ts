/** The address of a request: path and query as they were sent, or the part of the query that the rules leave. */
export function targetOf(url: string, rules?: QueryRules): string {
  const [target = ""] = url.split("#", 1);
  const start = rules === undefined ? -1 : target.indexOf("?");
  if (rules === undefined || start === -1) return target;
  const query = reduceQuery(target.slice(start + 1), rules);
  return query === "" ? target.slice(0, start) : `${target.slice(0, start)}?${query}`;
}

/** Which parameters of a query choose a response, and whether their order does. */
export interface QueryRules {
  /** Names of parameters, decoded; undefined: all of them choose. */
  readonly only: ReadonlySet<string> | undefined;
  /** Are queries the same that differ in the order of names alone? */
  readonly sort: boolean;
}

/** Parsers stop after some parameters (1,000 in qs and node:querystring), and go by the order until there. */
const maxParameters = 256;

/**
 * The part of a query that chooses. A parameter is left out only if no parser can take it for a wanted one. One whose name
 * may be read in several ways keeps the whole query as it was sent: the handler reads all of it.
 */
export function reduceQuery(query: string, { only, sort }: QueryRules): string {
  const parameters = query.split("&");
  if (parameters.length > maxParameters) return query;
  const kept = only === undefined ? parameters : keepWanted(parameters, only);
  if (kept === undefined) return query;
  return (sort ? sortByName(kept) : kept).join("&");
}

/** The wanted parameters; undefined if it is uncertain which they are. */
function keepWanted(parameters: readonly string[], only: ReadonlySet<string>): readonly string[] | undefined {
  const kept: string[] = [];
  for (const parameter of parameters) {
    const name = decodedName(parameter);
    if (name !== undefined && only.has(name)) kept.push(parameter);
    // Parsers skip an empty one.
    else if (parameter !== "" && !isCertainlyAnother(parameter, name, only)) return undefined;
  }
  return kept;
}

/** Undefined where escapes are broken, which parsers repair in different ways. */
function decodedName(parameter: string): string | undefined {
  const [name = ""] = parameter.split("=", 1);
  if (!name.includes("%")) return name;
  try {
    return decodeURIComponent(name);
  } catch {
    return undefined;
  }
}

/**
 * Names that every parser reads alike: without brackets and dots, which make nested values (qs), without blanks and `+`, and
 * without escapes that are left after decoding.
 */
const plainName = /^[A-Za-z0-9_~-]+$/;

function isCertainlyAnother(parameter: string, name: string | undefined, only: ReadonlySet<string>): boolean {
  if (name === undefined || !plainName.test(name)) return false;
  // Some parsers separate parameters by a semicolon too, and begin a query at a later question mark.
  if (/[;?]/.test(parameter)) return false;
  // On an object with a prototype such a name hides what the handler may call.
  if (name in Object.prototype) return false;
  const folded = name.toLowerCase();
  for (const wanted of only) if (baseOf(wanted) === folded) return false;
  return true;
}

/** Where a wanted name is nested, its first part alone may mean the same value. */
function baseOf(wanted: string): string {
  return (/^[^[.]+/.exec(wanted)?.[0] ?? wanted).toLowerCase();
}

/** Parameters of one name keep their order, since parsers make lists of them. Uncertain names keep all as they are. */
function sortByName(parameters: readonly string[]): readonly string[] {
  const named = parameters.map((parameter) => ({ parameter, name: decodedName(parameter) ?? "" }));
  if (!named.every(({ parameter, name }) => plainName.test(name) && !/[;?]/.test(parameter))) return parameters;
  return named.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)).map(({ parameter }) => parameter);
}

/**
 * Request fields from which frameworks and applications make up who they are: links, redirects, methods. They choose the
 * response whether it says so or not, so that nobody can leave a response made of their own in the place of all others.
 * In HTTP/2 the authority and the scheme are pseudo-fields (RFC 9113 8.3.1); a request may have `Host` besides.
 */
const exactFields: ReadonlySet<string> = new Set([
  ...["host", ":authority", ":scheme", "forwarded", "x-host", "x-http-host-override", "disguised-host", "x-scheme"],
  ...["x-url-scheme", "x-proto", "x-https", "x-arr-ssl", "front-end-https", "cf-visitor", "cloudfront-forwarded-proto"],
  ...["x-rewrite-url", "x-replaced-path", "x-waws-unencoded-url", "x-url", "x-request-uri", "x-uri", "base-url"],
  ...["x-script-name", "x-base-path", "x-base-url", "x-context-path"],
  ...["x-http-method-override", "x-http-method", "x-method-override"],
]);

/** Proxies and applications make up names of this form at will: X-Forwarded-Context, X-Original-Path. */
const fieldFamilies = /^(?:x-(?:envoy-)?(?:forwarded|original))(?:-|$)/;

/** Where a client is, and which request it is: these differ from request to request. */
const perRequest = /-(?:for|ip|addr|address|remote|request-id|trace-id)$/;

/** Does a request field of this lower-case name choose the response, whatever the response says? */
export function isTargetField(name: string): boolean {
  return exactFields.has(name) || (fieldFamilies.test(name) && !perRequest.test(name));
}
