/** A message of an event, or labels of a metric, without the name of the gate. */
export function withoutGate(message: unknown): object {
  const { gate, ...rest } = message as { readonly gate?: unknown };
  if (typeof gate !== "string" || gate === "") throw new Error("the message does not name its gate");
  return rest;
}
