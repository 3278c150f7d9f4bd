// What all caches of the suite "cache" keep.
export const ttlMs = 3_600_000;
export const mostEntries = 10_000;

/** As an application has them: 180 bytes of JSON. */
export function valueOf(key) {
  return {
    id: key,
    name: "Ada Lovelace",
    email: "ada@example.com",
    roles: ["reader", "writer"],
    address: { street: "12 St James's Square", city: "London", zip: "SW1Y 4JH" },
    age: 36,
  };
}
