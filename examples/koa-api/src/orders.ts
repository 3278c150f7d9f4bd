import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

export interface Order {
  readonly id: string;
  readonly owner: string;
  readonly item: string;
  readonly quantity: number;
}

/** Stands in for a table of orders: each process has its own. */
let orders: readonly Order[] = [
  { id: "1001", owner: "alice", item: "lantern", quantity: 2 },
  { id: "1002", owner: "alice", item: "rope", quantity: 1 },
  { id: "1003", owner: "admin", item: "padlock", quantity: 12 },
];

/** A database takes its time; the request cache saves it. */
const queryMs = 20;

/** What can be ordered. */
const items = ["lantern", "rope", "padlock"];
/** A demonstration keeps no more. */
const mostOrders = 1000;

/** The item that a request names; undefined for anything else. */
export function parseItem(body: unknown): string | undefined {
  const { item } = Object(body) as { readonly item?: unknown };
  return items.find((one) => one === item);
}

/** An order in a message of another process. Throws for anything else. */
export function parseOrder(message: unknown): Order {
  const { id, owner, item, quantity } = Object(message) as Partial<Record<keyof Order, unknown>>;
  if (![id, owner, item].every((text) => typeof text === "string") || typeof quantity !== "number")
    throw new TypeError("not an order");
  return { id, owner, item, quantity } as Order;
}

/** Makes a new order at each call: that one click makes one order is up to the caller. */
export async function placeOrder(owner: string, item: string): Promise<Order> {
  await sleep(queryMs);
  // Unique in all processes, without asking the others.
  const order: Order = { id: randomBytes(4).toString("hex"), owner, item, quantity: 1 };
  orders = [...orders.slice(-mostOrders), order];
  return order;
}

export async function findOrders(owner: string): Promise<Order[]> {
  await sleep(queryMs);
  return orders.filter((order) => order.owner === owner);
}

export async function findOrder(id: string): Promise<Order | undefined> {
  await sleep(queryMs);
  return orders.find((order) => order.id === id);
}

export async function summarizeOrders(): Promise<{ orders: number; customers: number }> {
  await sleep(queryMs);
  return { orders: orders.length, customers: new Set(orders.map(({ owner }) => owner)).size };
}
