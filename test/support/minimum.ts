/**
 * The minimum of up to twenty measurements of a number that grows when other processes use the machine, such as calls for one request:
 * a client that waits for a core sends fewer requests together.
 */
export async function minimumOf(measure: () => Promise<number>, enough: number): Promise<number> {
  let minimum = Infinity;
  for (let attempt = 0; attempt < 20 && minimum > enough; attempt += 1) minimum = Math.min(minimum, await measure());
  return minimum;
}
