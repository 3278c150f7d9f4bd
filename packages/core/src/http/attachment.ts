import type { Exchange, Facts } from "./exchange.js";
import { createFacts } from "./exchange.js";

/** Where a middleware stands. */
export interface Attachment {
  /** Stands for its gate. */
  readonly gate: object;
  /** Does it find out who is asking, or decide by that? Then what another gate found out is nothing to it. */
  readonly identifies: boolean;
}

const firstExchange = Symbol("portcullis.exchange");

interface Visited<E> {
  [firstExchange]?: E | undefined;
}

/** Of requests that more than one gate identifies: the exchanges at those after the first. */
const further = new WeakMap<Exchange, Map<object, Exchange>>();

/**
 * The exchange of a request as a middleware sees it, made when it is first needed. A request may pass several gates, each
 * with issuers of its own: a user of one with the scopes of another would be somebody whom neither knows. Only middleware
 * that identifies nobody goes by the first gate that does, so that a gate without `auth` limits the users of one that has it.
 */
export function exchangeFor<E extends Exchange>(request: object, seat: Attachment, make: (facts: Facts) => E): E {
  const exchange = findExchange(request, seat, make);
  // What earlier middleware found out is not what this one does.
  exchange.facts.found = 0;
  return exchange;
}

function findExchange<E extends Exchange>(request: object, seat: Attachment, make: (facts: Facts) => E): E {
  const visited: Visited<E> = request;
  const first = (visited[firstExchange] ??= make(createFacts()));
  const { facts } = first;
  if (facts.gate === seat.gate) return first;
  if (facts.gate === undefined) {
    if (seat.identifies) facts.gate = seat.gate;
    return first;
  }
  const known = further.get(first)?.get(seat.gate);
  if (known !== undefined) return known as E;
  if (!seat.identifies) return first;
  const made = make(createFacts(facts));
  made.facts.gate = seat.gate;
  further.set(first, (further.get(first) ?? new Map<object, Exchange>()).set(seat.gate, made));
  return made;
}
