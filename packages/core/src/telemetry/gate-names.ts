/** The names of the gates in this process. Two gates must not share a name: their metrics would be one. */
const names = new Set<string>();

/** A name that no other gate of this process has: the wanted one, or with a number behind it. */
export function takeGateName(wanted: string): string {
  let name = wanted;
  for (let number = 2; names.has(name); number += 1) name = `${wanted}-${number}`;
  names.add(name);
  return name;
}

/** The gate was closed. */
export function releaseGateName(name: string): void {
  names.delete(name);
}
