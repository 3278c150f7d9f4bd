import { randomBytes } from "node:crypto";
import type { DenialDetail, DescribeDenial } from "../http/denial-detail.js";
import type { Denied, Header, Reply, Verdict } from "../http/verdict.js";
import { allowed, deny, unavailable } from "../http/verdict.js";
import { optionError } from "../lib/validate.js";
import type { Check, GateExchange } from "../request/state.js";
import type { UnguardedWarning } from "../request/unguarded.js";
import type { Keyspace } from "../store/keyspace.js";
import { StoreFault } from "../store/ports/fault.js";
import type { ClaimAnswer, IdempotencyClaim, IdempotencyStore } from "../store/ports/idempotency.js";
import type { IdempotencyOutcome, Telemetry } from "../telemetry/telemetry.js";
import { Execution, recordExecution, releaseClaim } from "./execution.js";
import { fingerprintOf, readKey } from "./idempotency-key.js";
import type { ResolvedIdempotency } from "./idempotency-options.js";
import { decodeKept } from "./kept-response.js";
import { Repeats } from "./repeats.js";
import { clearTimeout, monotonicNow, setTimeout } from "../lib/real-timers.js";

export interface IdempotencyServices {
  readonly store: IdempotencyStore;
  /** The reason for which the store fails, as far as it is known. */
  readonly storeFailure: () => string | undefined;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  /** The refusal of a request without a caller. */
  readonly refuseAnonymous: (detail: DescribeDenial) => Denied;
  readonly unguarded: Pick<UnguardedWarning, "noteRefusal">;
}

/** A larger body is refused: it is kept in memory until its fingerprint is made. */
const maxBodyBytes = 1_048_576;
/** Requests that wait in this process; further ones are refused at once. */
const maxWaiting = 1000;
const retrySoon: readonly Header[] = [["Retry-After", "1"]];

/** The requests with an Idempotency-Key of one gate. */
export class Idempotency {
  readonly #services: IdempotencyServices;
  readonly #repeats = new Repeats();
  #waiting = 0;

  constructor(services: IdempotencyServices) {
    this.#services = services;
  }

  close(): void {
    this.#repeats.close();
  }

  /**
   * Runs the handler of a request once for each key of a caller, and answers retries with its response
   * (draft-ietf-httpapi-idempotency-key-header-07).
   */
  protect<Raw>(options: ResolvedIdempotency<Raw>): Check<Raw> {
    return (exchange) => {
      const { state } = exchange;
      if (!options.methods.has(exchange.method) || state.isDone(this)) return allowed;
      const field = exchange.header("idempotency-key");
      if (field === undefined) {
        if (!options.required) return allowed;
        return this.#refuse(
          deny("idempotency_key_missing", { cause: "the request has no Idempotency-Key", detail: describeField }),
        );
      }
      const key = readKey(field);
      if (key === undefined)
        return this.#refuse(
          deny("idempotency_key_invalid", {
            cause: "the Idempotency-Key is not a text of 1 to 255 characters",
            detail: () => ({ ...describeField(), found: `${field.length} characters` }),
          }),
        );
      const caller = callerOf(exchange, options);
      if (caller === undefined) {
        if (options.caller === undefined) this.#services.unguarded.noteRefusal("idempotency()", state);
        return this.#refuse(this.#services.refuseAnonymous(describeCaller));
      }
      state.markDone(this);
      return this.#answer(exchange, options, [...caller, exchange.method, pathOf(exchange.url), key]);
    };
  }

  async #answer<Raw>(
    exchange: GateExchange<Raw>,
    options: ResolvedIdempotency<Raw>,
    identity: readonly string[],
  ): Promise<Verdict> {
    const { telemetry, keys } = this.#services;
    const fingerprint = await readFingerprint(exchange);
    if (typeof fingerprint !== "string") return this.#refuse(fingerprint);
    const claim: IdempotencyClaim = {
      key: keys.coordination("idempotency", keys.digestOf(...identity)),
      owner: randomBytes(16).toString("base64url"),
      fingerprint,
      leaseMs: options.leaseMs,
      waits: false,
    };
    const answer = await this.#claim(exchange, claim, options.waitMs);
    if (answer instanceof StoreFault) return this.#degrade(answer, claim, options.onStoreError);
    switch (answer.state) {
      case "claimed":
        // Parsers behind cannot read what a client that has gone had sent, and take it for a request without a body.
        if (exchange.signal.aborted) {
          await releaseClaim(claim, this.#executionServices());
          return this.#conflict();
        }
        telemetry.idempotent("executed");
        this.#execute(exchange, claim, options);
        return allowed;
      case "completed":
        return this.#replay(answer.response);
      case "mismatch":
        return this.#end(
          "mismatch",
          deny("idempotency_mismatch", {
            cause: "the Idempotency-Key belongs to a request with another content",
            detail: () => ({ key: this.#services.keys.digestOf(...identity) }),
          }),
        );
      case "running":
        return this.#conflict();
    }
  }

  /** Claims the key. While another request has it, waits for that request. */
  async #claim<Raw>(
    exchange: GateExchange<Raw>,
    claim: IdempotencyClaim,
    waitMs: number,
  ): Promise<ClaimAnswer | StoreFault> {
    const { store } = this.#services;
    let answer = await store.claim(claim);
    if (waitMs === 0 || !isRunning(answer) || this.#waiting >= maxWaiting) return answer;
    this.#waiting += 1;
    const deadline = monotonicNow() + waitMs;
    const change = new Change();
    const stop = store.watch(claim.key, () => change.notify());
    const { signal } = exchange;
    const leave = (): void => change.notify();
    signal.addEventListener("abort", leave);
    try {
      for (;;) {
        // After the watch began, so that no change is missed.
        answer = await store.claim({ ...claim, waits: true });
        const leftMs = deadline - monotonicNow();
        if (!isRunning(answer) || leftMs <= 0 || signal.aborted) break;
        // Nobody tells of a lease that ends because its process has.
        await change.wait(Math.min(leftMs, answer.leftMs + 10));
      }
    } finally {
      this.#waiting -= 1;
      signal.removeEventListener("abort", leave);
      stop();
    }
    return answer;
  }

  #execute<Raw>(exchange: GateExchange<Raw>, claim: IdempotencyClaim, options: ResolvedIdempotency<Raw>): void {
    const execution = new Execution(claim, options.ttlMs, this.#executionServices());
    exchange.intercept(recordExecution(execution, options.maxResponse));
    execution.watch(exchange);
  }

  #replay(response: string): Reply | Denied {
    const kept = decodeKept(response);
    // A response that cannot be read says that the request was completed, too.
    if (kept === undefined || kept === "completed")
      return this.#end(
        "unreplayable",
        deny("idempotency_completed", { cause: "the response of the first request was not kept" }),
      );
    return this.#end("replayed", kept);
  }

  #degrade(fault: StoreFault, claim: IdempotencyClaim, policy: "deny" | "allow"): Verdict {
    const { telemetry } = this.#services;
    // The claim may have reached the store.
    if (fault.kind === "timeout" || fault.kind === "unreachable") void releaseClaim(claim, this.#executionServices());
    telemetry.degraded("idempotency", policy, fault.kind, policy === "allow" ? "allowed" : "denied");
    telemetry.idempotent(policy === "allow" ? "unprotected" : "unavailable");
    return policy === "allow"
      ? allowed
      : unavailable("the store of idempotent requests does not answer", "store_unavailable", () => ({
          reason: fault.reply ?? this.#services.storeFailure() ?? fault.kind,
        }));
  }

  #conflict(): Denied {
    return this.#end(
      "conflict",
      deny("idempotency_conflict", { cause: "the first request with this key is in progress", headers: retrySoon }),
    );
  }

  #refuse(denied: Denied): Denied {
    return this.#end("refused", denied);
  }

  #end<V extends Denied | Reply>(outcome: IdempotencyOutcome, verdict: V): V {
    this.#services.telemetry.idempotent(outcome);
    return verdict;
  }

  #executionServices(): ConstructorParameters<typeof Execution>[2] {
    const { store, telemetry } = this.#services;
    return { store, telemetry, repeats: this.#repeats };
  }
}

function describeField(): DenialDetail {
  return { header: "Idempotency-Key", expected: "one text of 1 to 255 printable ASCII characters", found: "none" };
}

function describeCaller(): DenialDetail {
  return { expected: "a user from a guard in front of idempotency(), or a name from its option caller", found: "none" };
}

/** The caller of a request, told apart by where it comes from; undefined without one. */
function callerOf<Raw>(
  { raw, state: { facts } }: GateExchange<Raw>,
  { caller }: ResolvedIdempotency<Raw>,
): readonly [from: string, name: string] | undefined {
  if (caller === undefined) {
    const { auth } = facts;
    return auth === undefined || auth.principal === "" ? undefined : ["principal", auth.principal];
  }
  const name: unknown = caller(raw, facts);
  if (name === undefined) return undefined;
  if (typeof name !== "string" || name === "")
    throw optionError("idempotency().caller", "must return a non-empty string, or undefined");
  return ["caller", name];
}

/** The path of a request as its client sent it. */
function pathOf(url: string): string {
  const path = url.split("?", 1)[0] ?? "";
  return path === "" ? "/" : path;
}

async function readFingerprint<Raw>(exchange: GateExchange<Raw>): Promise<string | Denied> {
  if (exchange.peekBody === undefined)
    throw new TypeError("portcullis: this adapter cannot read a body and put it back");
  const body = await exchange.peekBody(maxBodyBytes);
  // Its client has gone, and gets no answer.
  if (body.kind === "incomplete")
    return deny("idempotency_key_invalid", { cause: "the body of the request broke off" });
  const { method, url } = exchange;
  const fingerprint =
    body.kind === "too_large"
      ? undefined
      : fingerprintOf({ method, url, contentType: exchange.header("content-type") }, body, maxBodyBytes);
  return (
    fingerprint ??
    deny("content_too_large", {
      cause: "the body is too large for an idempotent request",
      detail: () => ({ expected: `at most ${maxBodyBytes} bytes` }),
    })
  );
}

function isRunning(answer: ClaimAnswer | StoreFault): answer is Extract<ClaimAnswer, { readonly state: "running" }> {
  return !(answer instanceof StoreFault) && answer.state === "running";
}

/** A change that is waited for. A change that comes before the wait is not missed. */
class Change {
  #hasCome = false;
  #wake: (() => void) | undefined;

  notify(): void {
    this.#hasCome = true;
    this.#wake?.();
  }

  /** Resolves at the next change, or after a time. */
  async wait(ms: number): Promise<void> {
    if (!this.#hasCome)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    this.#hasCome = false;
    this.#wake = undefined;
  }
}
