/**
 * The least of up to ten measurements of what grows when others use the machine, such as calls for one request: a client
 * that waits for a core sends fewer requests together.
 */
export async function leastOf(measure: () => Promise<number>, enough: number): Promise<number> {
  let least = Infinity;
  for (let attempt = 0; attempt < 10 && least > enough; attempt += 1) least = Math.min(least, await measure());
  return least;
}
