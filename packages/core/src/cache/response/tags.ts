/** What the tag of a path begins with. */
export const pathPrefix = "path ";

/** The tag of all responses for one path, whatever their query. */
export function tagOfPath(target: string): string {
  return `${pathPrefix}${foldPath(split(target).path)}`;
}

/** The tag of all responses for one path and query; the order of parameters does not matter. */
export function tagOfTarget(target: string): string {
  const { path, query } = split(target);
  return `target ${foldPath(path)}?${query.split("&").map(decode).sort().join("&")}`;
}

/** A tag as the application calls it. */
export function tagNamed(name: string): string {
  return `tag ${name}`;
}

/** What the application calls a tag; undefined for one that is not the application's. */
export function tagName(tag: string): string | undefined {
  return tag.startsWith("tag ") ? tag.slice(4) : undefined;
}

function split(target: string): { readonly path: string; readonly query: string } {
  const [whole = ""] = target.split("#", 1);
  const start = whole.indexOf("?");
  return start === -1 ? { path: whole, query: "" } : { path: whole.slice(0, start), query: whole.slice(start + 1) };
}

/** Paths that have one spelling only. */
const folded = /^(?:\/[a-z0-9_~-][a-z0-9._~-]*)+$/;

/**
 * One spelling for all by which routers and file servers find the same: they may ignore case, a slash at the end, escapes,
 * empty segments and dot segments. Two resources may share one; then both end, and are made anew.
 */
function foldPath(path: string): string {
  if (folded.test(path)) return path;
  const own = path.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "");
  const segments: string[] = [];
  for (const segment of decode(own).normalize("NFKC").toLowerCase().split(/[/\\]/)) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return `/${segments.join("/")}`;
}

/** Escapes that are not UTF-8 stay as they are. */
function decode(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, (escapes) => {
    try {
      return decodeURIComponent(escapes);
    } catch {
      return escapes;
    }
  });
}
