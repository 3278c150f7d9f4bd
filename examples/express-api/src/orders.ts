import { setTimeout as sleep } from "node:timers/promises";

export interface Order {
  readonly id: string;
  readonly owner: string;
  readonly item: string;
  readonly quantity: number;
}

const orders: readonly Order[] = [
  { id: "1001", owner: "alice", item: "lantern", quantity: 2 },
  { id: "1002", owner: "alice", item: "rope", quantity: 1 },
  { id: "1003", owner: "admin", item: "padlock", quantity: 12 },
];

/** A database takes its time; the request cache saves it. */
const queryMs = 20;

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
