/** The hash tag of one of our keys, which decides about its slot (Redis Cluster specification, "Hash tags"). */
export function hashTag(key: string): string {
  return /\{([^}]*)\}/.exec(key)?.[1] ?? key;
}

/** Groups items by the hash slot of their key: one script call sees the keys of one slot only. */
export function groupBySlot<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[][] {
  const slots = new Map<string, Item[]>();
  for (const item of items) {
    const tag = hashTag(keyOf(item));
    const slot = slots.get(tag);
    if (slot === undefined) slots.set(tag, [item]);
    else slot.push(item);
  }
  return [...slots.values()];
}

/**
 * Makes one call for each hash slot, all in this turn of the event loop. Resolves to the answers in the order of the
 * items; `call` answers its items in their order.
 */
export async function callEachSlot<Item, Answer>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  call: (slot: readonly Item[]) => Promise<readonly Answer[]>,
): Promise<Answer[]> {
  const answers = new Array<Answer>(items.length);
  const positions = items.map((_, position) => position);
  const slots = groupBySlot(positions, (position) => keyOf(items[position] as Item));
  await Promise.all(
    slots.map(async (slot) => {
      const found = await call(slot.map((position) => items[position] as Item));
      slot.forEach((position, index) => (answers[position] = found[index] as Answer));
    }),
  );
  return answers;
}
