/** The first line of the stack that belongs to the application; undefined after an await. */
export function callSite(stack: string = new Error().stack ?? ""): string | undefined {
  const own = stack
    .split("\n")
    .slice(1)
    .find((line) => !/[/\\](@portcullis|packages)[/\\](core|express|koa)[/\\]|node:|processTicks/.test(line));
  return own?.trim().replace(/^at /, "");
}
