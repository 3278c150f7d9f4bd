import { findCookies } from "../http/cookies.js";
import { canonicalAddress } from "../http/address.js";
import { handlerWaitMs, onRequestDone } from "../http/handler-end.js";
import { retryAfter } from "../http/fields.js";
import type { DenialDetail } from "../http/denial-detail.js";
import { kindFound } from "../http/denial-detail.js";
import type { Denied, Verdict } from "../http/verdict.js";
import type { Check, GateExchange } from "../request/state.js";
import { allowed, deny, unavailable } from "../http/verdict.js";
import type { ResolvedAttemptLimit, ResolvedLogin, LoginOutcome, ThrottleLimits } from "./options.js";
import type { Keyspace } from "../store/keyspace.js";
import type {
  AttemptAnswer,
  AttemptOutcome,
  AttemptQuestion,
  AttemptResult,
  LoginStore,
  KnownAddress,
} from "../store/ports/logins.js";
import { StoreFault } from "../store/ports/fault.js";
import type { AuditTrail } from "../telemetry/audit.js";
import type { Logger } from "../telemetry/logger.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import { createAttempt } from "./attempt.js";
import { createDeviceTokens } from "./device-token.js";
import { normalizeAccount } from "./account-name.js";
import { accountKeys, knownMs, memoryMs, accountAndIpKeys } from "./login-keys.js";

import { LockOuts } from "./lock-outs.js";
import { Semaphore } from "./semaphore.js";
import { LoginWarnings } from "./warnings.js";

export interface LoginServices {
  readonly store: LoginStore;
  /** Counts in this process, while the store is down. */
  readonly local: LoginStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly audit: AuditTrail;
  readonly logger: Logger;
  readonly ipv6PrefixLength: number;
  readonly instances: number;
  /** The reason for which the store fails, as far as it is known. */
  readonly storeFailure: () => string | undefined;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** The limits of each throttle of this gate, by its name. */
  readonly throttles: Map<string, ThrottleLimits>;
}

/** Longest wait for the semaphore. */
const waitTimeoutMs = 5000;
const maxWaiting = 1000;
/** Longer than any handler needs for a login. A handler that never responds must not keep its permit. */
const maxHoldMs = 60_000;
/** The window in which other services count failures. */
const failuresMs = 60_000;

/** Causes by the counter that refuses the attempt. */
const refusalCauses = {
  address: "too many attempts from this address or device",
  pair: "too many attempts for this account from this address or device",
  account: "too many attempts for this account",
} as const;

/** The counters that may refuse an attempt. */
const refusers = ["address", "pair", "account"] as const;

/** The key of the counter that refuses an attempt. */
function keyOfRefusal({ address, accountAndIp, account }: AttemptQuestion, by: "address" | "pair" | "account"): string {
  return by === "address"
    ? address.key
    : by === "pair" || account === undefined
      ? accountAndIp.key
      : account.intervalKey;
}

/** An attempt that was counted, and the store that counted it. */
interface CountedAttempt {
  readonly store: Pick<LoginStore, "record">;
  readonly question: AttemptQuestion;
  readonly answer: AttemptAnswer;
}

/** The result of an attempt, which is recorded once. */
interface Resolution {
  readonly isResolved: () => boolean;
  /** The first call counts; later ones wait for it. */
  readonly resolve: (result: AttemptResult, account: string) => Promise<void>;
}

/**
 * The check in front of a login route. An attempt is counted before its password is checked, so that parallel guesses cannot
 * exceed a limit, and it is taken back when it succeeds.
 */
export function throttleLogin<Raw>(options: ResolvedLogin<Raw>, services: LoginServices): Check<Raw> {
  const { name, onStoreError } = options;
  const { keys, store, local, telemetry, audit, logger, now } = services;
  services.throttles.set(name, options);
  const semaphore = new Semaphore({ parallel: options.parallel, waitTimeoutMs, maxWaiting, maxHoldMs });
  const device =
    options.device === undefined
      ? undefined
      : { ...options.device, tokens: createDeviceTokens({ ...options.device, now }) };
  const warnings = new LoginWarnings({ name, logger, telemetry, now });

  const lockOuts = new LockOuts();
  const refusals = new WeakMap<object, Verdict>();

  return async function throttle(exchange): Promise<Verdict> {
    const { state } = exchange;
    // A refused attempt must not pass where the same throttle stands in another alternative.
    if (state.isDone(options)) return refusals.get(state.first) ?? allowed;
    const verdict = await decide(exchange);
    if (verdict.allowed) refusals.delete(state.first);
    else refusals.set(state.first, verdict);
    return verdict;
  };

  async function decide(exchange: GateExchange<Raw>): Promise<Verdict> {
    const { state } = exchange;
    const given = await options.account(exchange.raw, state.facts);
    const account = normalizeAccount(given);
    if (account === undefined)
      return deny("account_missing", {
        cause: "the request does not name an account to sign in to",
        detail: () => ({ policy: name, expected: "a text of 1 to 512 characters", found: kindFound(given) }),
      });
    const trusted = device?.tokens.read(await readDeviceToken(exchange), account);
    const counted = await countAttempt(createQuestion(exchange, account, trusted), account);
    if (!("answer" in counted)) return counted;
    const { answer } = counted;
    const { refusedBy, retryMs } = answer;
    if (refusedBy !== undefined) {
      if (lockOuts.begins(keyOfRefusal(counted.question, refusedBy), retryMs)) {
        const retrySeconds = Math.ceil(retryMs / 1000);
        const { ip } = exchange;
        audit.record({ type: "login_locked", throttle: name, account, ip, by: refusedBy, retrySeconds });
      }
      return deny("attempts_exceeded", {
        cause: refusalCauses[refusedBy],
        detail: () => describeRefusal(refusedBy, retryMs, account, exchange.ip),
        headers: [retryAfter(retryMs / 1000)],
      });
    }
    lockOuts.end(refusers.map((by) => keyOfRefusal(counted.question, by)));
    const resolution = openResolution(counted, account, exchange.ip);
    const release = await semaphore.acquire(exchange.signal);
    if (release === undefined) {
      await resolution.resolve("unchecked", account);
      return unavailable("too many sign-ins are in progress", "capacity_exceeded", () => ({
        policy: name,
        limit: options.parallel,
      }));
    }
    // A client that reads slowly, or waits behind another response, must not keep the permit after its handler has ended.
    exchange.onHandled(release);
    // A handler goes on when its client has gone. So the permit is kept: otherwise aborted requests would exceed the bound.
    onRequestDone(exchange, handlerWaitMs, (status) => {
      release();
      void conclude(exchange, account, resolution, status);
    });
    const attempt = createAttempt({
      account,
      stepUp: answer.exhausted && options.paceMs === undefined,
      trustedDevice: trusted !== undefined,
      device,
      resolve: (result, signedIn) => {
        release();
        return resolution.resolve(result, signedIn);
      },
    });
    state.markDone(options);
    state.setLoginAttempt(attempt);
    return allowed;
  }

  function describeRefusal(
    by: keyof typeof refusalCauses,
    retryMs: number,
    account: string,
    ip: string | undefined,
  ): DenialDetail {
    const { limit, windowMs } = { address: options.ip, pair: options.pair, account: options.accountLimit }[by];
    const [owner, address] = [`account ${accountKeys(keys, name, account).owner}`, `address ${addressOf(ip)}`];
    return {
      policy: name,
      key: { address, pair: `${owner} and ${address}`, account: owner }[by],
      ...{ limit, windowSeconds: windowMs / 1000, retryAfterSeconds: Math.ceil(retryMs / 1000) },
    };
  }

  /** Records the result of an attempt that the handler did not report. */
  async function conclude(
    exchange: GateExchange<Raw>,
    account: string,
    { isResolved, resolve }: Resolution,
    status: number,
  ): Promise<void> {
    if (isResolved()) return;
    try {
      const result = await resultOfStatus(options.outcome, exchange, status);
      if (result !== undefined) await resolve(result, account);
      else if (isSuccess(status) && !isResolved()) warnings.unreportedSuccess();
    } catch {
      warnings.failedOutcome();
    }
  }

  async function readDeviceToken(exchange: GateExchange<Raw>): Promise<unknown> {
    if (device?.token !== undefined) return device.token(exchange.raw, exchange.state.facts);
    return device === undefined ? undefined : findCookies(exchange.header("cookie"), device.cookie)[0];
  }

  function createQuestion(exchange: GateExchange<Raw>, account: string, trusted: string | undefined): AttemptQuestion {
    const ownKeys = accountKeys(keys, name, account);
    const { owner, spelling, resetKey, intervalKey } = ownKeys;
    if (trusted !== undefined) {
      const device = keys.digest(trusted);
      const accountAndDevice = { key: keys.login(name, "device", owner, device), spelling, ...options.pair };
      // The device has an address counter too: otherwise a client that provokes faults would never run out of attempts.
      const address = { key: keys.login(name, "device-ip", owner, device), ...options.ip };
      return { address, accountAndIp: accountAndDevice, resetKey, account: undefined };
    }
    const address = addressOf(exchange.ip);
    const { pairKey, knownKey } = accountAndIpKeys(keys, name, ownKeys, address);
    return {
      address: { key: keys.login(name, "ip", address), ...options.ip },
      accountAndIp: { key: pairKey, spelling, ...options.pair },
      resetKey,
      account: {
        keys: ownKeys.counters,
        ...options.accountLimit,
        knownKey,
        intervalKey,
        minIntervalMs: options.paceMs,
      },
    };
  }

  function addressOf(ip: string | undefined): string {
    return keys.digest(canonicalAddress(ip, services.ipv6PrefixLength));
  }

  async function countAttempt(question: AttemptQuestion, account: string): Promise<CountedAttempt | Denied> {
    const answer = await store.count(question);
    if (!(answer instanceof StoreFault)) return { store, question, answer };
    const stricter = onStoreError === "local" ? stricterQuestion(question, services.instances) : undefined;
    const fallback = stricter === undefined ? answer : await local.count(stricter);
    const isAdmitted = !(fallback instanceof StoreFault) && fallback.refusedBy === undefined;
    telemetry.degraded("login", onStoreError, answer.kind, isAdmitted ? "allowed" : "denied");
    // No password is checked, so this was no guess.
    if (!isAdmitted) void store.record({ ...outcomeOf(question, account), counted: undefined, result: "unchecked" });
    return stricter === undefined || fallback instanceof StoreFault
      ? unavailable(`the store cannot count: ${answer.kind}`, "store_unavailable", () => ({
          policy: name,
          reason: answer.reply ?? services.storeFailure(),
        }))
      : { store: withoutAnswer(question), question: stricter, answer: fallback };
  }

  /**
   * Records the result of an attempt that was counted in process. The store may have counted it too, although its reply was
   * lost: a failure stays counted in both.
   */
  function withoutAnswer(question: AttemptQuestion): CountedAttempt["store"] {
    return {
      record(outcome) {
        void store.record({ ...outcome, question, counted: undefined });
        return local.record(outcome);
      },
    };
  }

  /** The parts of an outcome that are the same for every result. */
  function outcomeOf(
    question: AttemptQuestion,
    account: string,
  ): Pick<AttemptOutcome, "question" | "block" | "knownMs" | "failures"> {
    return {
      question,
      block: { longestMs: options.longestBlockMs, memoryMs },
      knownMs,
      failures: { key: keys.failedLogins(account), ttlMs: failuresMs },
    };
  }

  /** If the result cannot be recorded, the attempt stays counted: that is safe. */
  function openResolution(
    { store: counting, question, answer }: CountedAttempt,
    account: string,
    ip: string | undefined,
  ): Resolution {
    let first: Promise<void> | undefined;

    async function record(result: AttemptResult, signedIn: string): Promise<void> {
      if (result === "succeeded") warnings.succeeded(keys.digest(signedIn));
      const tried = { throttle: name, account: signedIn, ip };
      if (result === "succeeded") audit.record({ type: "login_succeeded", ...tried });
      else if (result === "failed") audit.record({ type: "login_failed", ...tried });
      await counting.record({
        ...outcomeOf(question, account),
        counted: answer.counted,
        result,
        signedIn: signedIn === account ? undefined : knownAddressOf(signedIn, ip),
      });
    }

    return {
      isResolved: () => first !== undefined,
      resolve: (result, signedIn) => (first ??= record(result, signedIn)),
    };
  }

  function knownAddressOf(account: string, ip: string | undefined): KnownAddress {
    const ownKeys = accountKeys(keys, name, account);
    const { pairKey, knownKey } = accountAndIpKeys(keys, name, ownKeys, addressOf(ip));
    return { accountAndIp: { key: pairKey, spelling: ownKeys.spelling }, knownKey };
  }
}

/** Half of each limit, divided by the number of processes. */
function stricterQuestion(question: AttemptQuestion, instances: number): AttemptQuestion {
  const { address, accountAndIp, account } = question;
  return {
    ...question,
    address: halve(address, instances),
    accountAndIp: halve(accountAndIp, instances),
    account: account === undefined ? undefined : halve(account, instances),
  };
}

function halve<Limit extends ResolvedAttemptLimit>(limit: Limit, instances: number): Limit {
  return { ...limit, limit: Math.max(1, Math.floor(limit.limit / 2 / instances)) };
}

/** Statuses of a handler that found the password wrong, or no account of that name. */
const failureStatuses = new Set([400, 401, 403, 422]);

/**
 * The result of an attempt that the handler did not report, by the status of the response. Undefined if the status does not
 * tell: then the attempt stays counted, and no counter is reset. Rejects if the function of the application throws.
 */
async function resultOfStatus<Raw>(
  outcome: LoginOutcome<Raw>,
  { raw, state }: GateExchange<Raw>,
  status: number,
): Promise<AttemptResult | undefined> {
  // The client went away, and may have seen the result.
  if (status === 0) return undefined;
  if (typeof outcome === "function") {
    const answer: unknown = await outcome(raw, state.facts, status);
    if (answer === "succeeded" || answer === "failed" || answer === "unchecked") return answer;
    if (answer !== undefined) throw new TypeError("no outcome");
  }
  if (status >= 500) return "interrupted";
  if (failureStatuses.has(status)) return "failed";
  return outcome === "status" && isSuccess(status) ? "succeeded" : undefined;
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}
