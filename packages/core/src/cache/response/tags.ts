/** The tag of all responses for one path and query. */
export function tagOfTarget(target: string): string {
  return `target ${target}`;
}

/** A tag as the application calls it. */
export function tagNamed(name: string): string {
  return `tag ${name}`;
}

/** What the application calls a tag; undefined for one that is not the application's. */
export function tagName(tag: string): string | undefined {
  return tag.startsWith("tag ") ? tag.slice(4) : undefined;
}
