import type { Auth } from "../auth/claims.js";
import type { IssuerScope } from "../auth/issuer-scope.js";
import type { VerifiedToken } from "../auth/verifier.js";
import type { Denied } from "../http/verdict.js";
import { checkInteger, checkObject, checkString, kindOf, optionError } from "../lib/validate.js";
import { resolveLimit } from "../limits/options.js";
import type { LimitOptions } from "../limits/options.js";
import type { PartitionPart, Policy } from "../limits/policy.js";
import { maxCount, needsCorrection } from "../limits/policy.js";
import type { Quota } from "../http/quota.js";
import type { Keyspace } from "../store/keyspace.js";
import { eventExchange } from "./message-exchange.js";
import type { GuardCheck } from "./guard.js";

/** The sender of an event that a limit counts. */
export interface ConsumeOptions<Raw = unknown> {
  /** The verified token of the sender; required by limits per user and per claim. */
  readonly auth?: Auth | undefined;
  /** The address of the sender; required by limits per address and per header. */
  readonly address?: string | undefined;
  /** Units that the event counts: a whole number from 0. @default the cost of the limit */
  readonly cost?: number | undefined;
  /** The value that functions of the limit get as the request. @default undefined */
  readonly request?: Raw | undefined;
}

/** The event may be handled; or the refusal with status, headers and problem. */
export type Consumed = { readonly allowed: true; readonly quotas: readonly Quota[] } | Denied;

export interface ConsumerOptions<Raw> {
  /** Undefined for a gate without `auth`. */
  readonly issuers: IssuerScope | undefined;
  readonly keys: Keyspace;
  /** The policy of this gate with this name; throws without one. */
  readonly policyOf: (name: string) => Policy<Raw>;
  /** Makes a policy known to the gate. */
  readonly register: (policy: Policy<Raw>) => void;
  /** The check of one policy. */
  readonly checkOf: (policy: Policy<Raw>) => GuardCheck<Raw>;
}

/** Costs of one limit that are remembered. */
const maxCosts = 64;

/** Counts events outside requests, such as messages on a socket, by the limits of a gate. */
export class Consumer<Raw> {
  readonly #options: ConsumerOptions<Raw>;
  readonly #resolved = new WeakMap<object, Policy<Raw>>();
  /** By policy and cost. */
  readonly #checks = new WeakMap<Policy<Raw>, Map<number | undefined, GuardCheck<Raw>>>();
  readonly #tokens = new WeakMap<Auth, VerifiedToken>();

  constructor(options: ConsumerOptions<Raw>) {
    this.#options = options;
  }

  async consume(limit: string | LimitOptions<Raw>, options: ConsumeOptions<Raw>): Promise<Consumed> {
    checkObject("consume()", options, ["auth", "address", "cost", "request"]);
    const { auth, address, cost, request } = options;
    if (cost !== undefined) checkInteger("consume().cost", cost, 0, maxCount);
    if (address !== undefined) checkString("consume().address", address);
    const policy = this.#policy(limit);
    checkSender(policy, options);
    const exchange = eventExchange(request as Raw, address);
    if (auth !== undefined) exchange.state.identify(this.#tokenOf(auth));
    const verdict = await this.#checkFor(policy, cost)(exchange);
    return verdict.allowed ? { allowed: true, quotas: exchange.state.facts.quotas } : verdict;
  }

  #policy(limit: string | LimitOptions<Raw>): Policy<Raw> {
    if (typeof limit === "string") return this.#options.policyOf(limit);
    if (typeof limit !== "object" || (limit as unknown) === null)
      throw optionError("consume()", `takes the name of a limit or a limit, not ${kindOf(limit)}`);
    let policy = this.#resolved.get(limit);
    if (policy === undefined) {
      policy = resolveLimit("consume()", limit);
      this.#resolved.set(limit, policy);
      this.#options.register(policy);
    }
    return policy;
  }

  #checkFor(policy: Policy<Raw>, cost: number | undefined): GuardCheck<Raw> {
    let checks = this.#checks.get(policy);
    if (checks === undefined) this.#checks.set(policy, (checks = new Map<number | undefined, GuardCheck<Raw>>()));
    let check = checks.get(cost);
    if (check === undefined) {
      // The condition is about requests, and an event has neither path nor method.
      check = this.#options.checkOf({ ...policy, when: undefined, cost: cost ?? policy.cost });
      if (checks.size < maxCosts) checks.set(cost, check);
    }
    return check;
  }

  /** The sender as a verified token. Nobody asks whether it was revoked: the connection ends when it is. */
  #tokenOf(auth: Auth): VerifiedToken {
    const { issuers, keys } = this.#options;
    if (issuers === undefined) throw optionError("auth", "is required for consume() with auth");
    const known = this.#tokens.get(auth);
    if (known !== undefined) return known;
    if (typeof auth !== "object" || (auth as unknown) === null || typeof auth.principal !== "string")
      throw optionError("consume().auth", "must be the auth of a request or of gate.verify()");
    issuers.checkToken(auth);
    const partition = auth.principal === "" ? "" : keys.userPartition(issuers.principalOf(auth));
    const unneeded = { question: undefined, boundTo: undefined, rolesClaim: undefined };
    const token: VerifiedToken = { auth, partition, issuers, ...unneeded };
    this.#tokens.set(auth, token);
    return token;
  }
}

/** Events without a sender would all count as one client, or not at all. */
function checkSender<Raw>(policy: Policy<Raw>, { auth, address }: ConsumeOptions<Raw>): void {
  const { name, per } = policy;
  if (needsCorrection(policy))
    throw optionError(`limit "${name}"`, "needs a response, so consume() cannot count by it");
  if (auth === undefined && per.some((part) => part === "user" || isNamed(part, "claim")))
    throw optionError(`limit "${name}"`, "counts by the user: pass consume() the auth of the sender");
  if (address === undefined && per.some((part) => part === "ip" || isNamed(part, "header")))
    throw optionError(`limit "${name}"`, "counts by the address: pass consume() the address of the sender");
}

function isNamed<Raw>(part: PartitionPart<Raw>, what: "claim" | "header"): boolean {
  return typeof part === "object" && what in part;
}
