// What the targets of the suite "stored" answer.
export const lifetimeSeconds = 3600;
export const cacheControl = `max-age=${lifetimeSeconds}`;

/** A small JSON. */
export const body = { ok: true };

/** What a bare framework answers with, so that it writes as many header bytes as a stored response has. */
export const otherFields = {
  "Cache-Control": cacheControl,
  Age: "1000",
  "Cache-Status": "portcullis; hit; ttl=2600",
};

/** The key of the row by hand. */
export const handKey = "bench:stored-by-hand";

/**
 * The row by hand: GET of one key, which holds the fields and the body as they are sent.
 *
 * @param {import("ioredis").Redis} redis
 */
export async function openByHand(redis) {
  const fields = {
    "Content-Type": "application/json; charset=utf-8",
    ETag: 'W/"b-Ai2R8hgEarLmHKwesT1qcY913ys"',
    ...otherFields,
  };
  await redis.set(handKey, JSON.stringify({ fields, body: JSON.stringify(body) }));
  return async () => JSON.parse(await redis.get(handKey));
}
