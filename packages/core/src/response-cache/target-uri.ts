/** The path and query of a request, as they were sent; with rules, the part of the query that they leave. */
export function targetOf(url: string, rules?: QueryRules): string {
  const fragment = url.indexOf("#");
  const target = fragment === -1 ? url : url.slice(0, fragment);
  const start = rules === undefined ? -1 : target.indexOf("?");
  if (rules === undefined || start === -1) return target;
  const query = reduceQuery(target.slice(start + 1), rules);
  return query === "" ? target.slice(0, start) : `${target.slice(0, start)}?${query}`;
}

/** The query parameters that select a response, and whether their order matters. */
export interface QueryRules {
  /** Decoded names of parameters; undefined for all. */
  readonly only: ReadonlySet<string> | undefined;
  /** True: the order of parameters with different names does not matter. */
  readonly sort: boolean;
}

/** Parsers ignore parameters after a maximum (1,000 in qs and node:querystring), so their order matters there. */
const maxParameters = 256;

/**
 * The part of a query that selects the response. A parameter is left out only if no parser can read it as a wanted one.
 * A name that parsers may read in several ways keeps the whole query as it was sent.
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
    else if (parameter !== "" && !isUnwanted(parameter, name, only)) return undefined;
  }
  return kept;
}

/** The decoded name; undefined if its escapes are malformed, which parsers repair in different ways. */
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
 * Names that every parser reads alike: without brackets and dots, which make nested values (qs), and without blanks, `+` and
 * escapes after decoding.
 */
const plainName = /^[A-Za-z0-9_~-]+$/;

function isUnwanted(parameter: string, name: string | undefined, only: ReadonlySet<string>): boolean {
  if (name === undefined || !plainName.test(name)) return false;
  // Some parsers separate parameters by semicolons, too, or begin the query at a later question mark.
  if (/[;?]/.test(parameter)) return false;
  // On an object with a prototype, such a name hides a method that the handler may call.
  if (name in Object.prototype) return false;
  const folded = name.toLowerCase();
  for (const wanted of only) if (baseOf(wanted) === folded) return false;
  return true;
}

/** The first part of a nested name: some parsers read it as the same value. */
function baseOf(wanted: string): string {
  return (/^[^[.]+/.exec(wanted)?.[0] ?? wanted).toLowerCase();
}

/** Sorts by name. Parameters of one name keep their order, since parsers make lists of them. Nothing is sorted if a name is uncertain. */
function sortByName(parameters: readonly string[]): readonly string[] {
  const named = parameters.map((parameter) => ({ parameter, name: decodedName(parameter) ?? "" }));
  if (!named.every(({ parameter, name }) => plainName.test(name) && !/[;?]/.test(parameter))) return parameters;
  return named.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)).map(({ parameter }) => parameter);
}

/**
 * Request fields from which frameworks and applications reconstruct the target URI (RFC 9110 7.1) or the method, for links,
 * redirects and routing. They are part of the cache key without any `Vary`, so that no client can store a response with its
 * own values for all others. In HTTP/2 the authority and the scheme are pseudo-fields (RFC 9113 8.3.1), besides `Host`.
 */
const exactFields: ReadonlySet<string> = new Set([
  ...["host", ":authority", ":scheme", "forwarded", "x-host", "x-http-host-override", "disguised-host", "x-scheme"],
  ...["x-url-scheme", "x-proto", "x-https", "x-arr-ssl", "front-end-https", "cf-visitor", "cloudfront-forwarded-proto"],
  ...["x-rewrite-url", "x-replaced-path", "x-waws-unencoded-url", "x-url", "x-request-uri", "x-uri", "base-url"],
  ...["x-script-name", "x-base-path", "x-base-url", "x-context-path"],
  ...["x-http-method-override", "x-http-method", "x-method-override"],
]);

/** Families of names that proxies and applications invent: X-Forwarded-Context, X-Original-Path. */
const fieldFamilies = /^(?:x-(?:envoy-)?(?:forwarded|original))(?:-|$)/;

/** Fields of these families with the address of a client or the id of a request: they differ between requests. */
const perRequest = /-(?:for|ip|addr|address|remote|request-id|trace-id)$/;

/** True if a request field of this lower-case name is part of every cache key. */
export function isTargetField(name: string): boolean {
  return exactFields.has(name) || (fieldFamilies.test(name) && !perRequest.test(name));
}
