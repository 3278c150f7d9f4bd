import { findCookies } from "../auth/bearer.js";
import { canonicalAddress } from "../http/address.js";
import type { Exchange } from "../http/exchange.js";
import { onRequestDone } from "../http/handler-end.js";
import { retryAfter } from "../http/fields.js";
import type { Check, Denied, Verdict } from "../http/verdict.js";
import { allowed, deny } from "../http/verdict.js";
import type { ResolvedAttemptLimit, ResolvedLogin } from "../options/login.js";
import type { Keyspace } from "../store/keys.js";
import type { AttemptAnswer, AttemptOutcome, AttemptQuestion, LoginStore } from "../store/login-port.js";
import { StoreFault } from "../store/ports.js";
import type { Telemetry } from "../telemetry/telemetry.js";
import type { LoginAttempt } from "./attempt.js";
import type { DeviceTokens } from "./device.js";
import { createDeviceTokens } from "./device.js";
import { normalizeAccount } from "./identifier.js";
import { accountKeys, knownMs, memoryMs } from "./keys.js";
import { Turns } from "./turns.js";

export interface LoginServices {
  readonly store: LoginStore;
  /** Counts in this process while the store is down. */
  readonly local: LoginStore;
  readonly keys: Keyspace;
  readonly telemetry: Telemetry;
  readonly ipv6PrefixLength: number;
  readonly instances: number;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** Longer than this nobody waits for an answer to a login. */
const patienceMs = 5000;
const mostWaiting = 1000;
/** How long a handler may work on for a client who has gone. */
const releaseAfterMs = 10_000;
/** Longer than any handler needs for a login: one that never answers must not keep its turn. */
const longestTurnMs = 60_000;
/** As the other services count failures. */
const failuresMs = 60_000;

/** An attempt that was counted, and where. */
interface Charged {
  readonly store: LoginStore;
  readonly question: AttemptQuestion;
  readonly answer: AttemptAnswer;
}

/**
 * The check in front of a login route. An attempt is counted before its password is looked at, so that no number of parallel
 * guesses gets past a limit, and taken back when it succeeds.
 */
export function throttleLogin<Raw>(options: ResolvedLogin<Raw>, services: LoginServices): Check<Raw> {
  const { name, device, onStoreError } = options;
  const { keys, store, local, telemetry, now } = services;
  const turns = new Turns({ parallel: options.parallel, patienceMs, mostWaiting, longestMs: longestTurnMs });
  const tokens = device === undefined ? undefined : createDeviceTokens({ ...device, now });

  return async function throttle(exchange): Promise<Verdict> {
    const { facts } = exchange;
    if (facts.settled.has(options)) return allowed;
    const account = normalizeAccount(await options.account(exchange.raw, facts));
    if (account === undefined) return deny("account_missing", { cause: "the request names no account to sign in to" });
    facts.settled.add(options);
    const trusted = tokens?.read(await readDeviceToken(exchange), account);
    const charged = await charge(createQuestion(exchange, account, trusted));
    if (!("answer" in charged)) return charged;
    const { answer } = charged;
    if (answer.refusedBy !== undefined)
      return deny("attempts_exceeded", {
        cause: `too many attempts: ${answer.refusedBy}`,
        headers: [retryAfter(answer.retryMs / 1000)],
      });
    const settle = once((result: AttemptOutcome["result"]) => settleAttempt(charged, account, result));
    const release = await turns.take(exchange.signal);
    if (release === undefined) {
      await settle("unchecked");
      return deny("capacity_exceeded", { cause: "too many logins are under way", headers: [retryAfter(1)] });
    }
    // A client who reads slowly, or waits behind another response, keeps no turn that its handler needs no more.
    exchange.onHandled(release);
    // A handler does not know that its client has gone, and works on: otherwise aborting would get around the bound.
    onRequestDone(exchange, releaseAfterMs, (status) => {
      release();
      void settle(status >= 200 && status < 300 ? "succeeded" : "failed");
    });
    facts.loginAttempt = createAttempt({
      answer,
      account,
      trusted,
      settle: (result) => {
        release();
        return settle(result);
      },
    });
    return allowed;
  };

  async function readDeviceToken(exchange: Exchange<Raw>): Promise<unknown> {
    if (device?.token !== undefined) return device.token(exchange.raw, exchange.facts);
    return device === undefined ? undefined : findCookies(exchange.header("cookie"), device.cookie)[0];
  }

  function createQuestion(exchange: Exchange<Raw>, account: string, trusted: string | undefined): AttemptQuestion {
    const { key, paceKey, pardonKey, owner } = accountKeys(keys, name, account);
    if (trusted !== undefined) {
      const pairKey = keys.login(name, "device", owner, keys.digest(trusted));
      return { address: undefined, pair: { key: pairKey, ...options.pair }, pardonKey, account: undefined };
    }
    const address = keys.digest(canonicalAddress(exchange.ip, services.ipv6PrefixLength));
    return {
      address: { key: keys.login(name, "ip", address), ...options.ip },
      pair: { key: keys.login(name, "pair", owner, address), ...options.pair },
      pardonKey,
      account: {
        key,
        ...options.accountLimit,
        knownKey: keys.login(name, "known", owner, address),
        paceKey,
        paceMs: options.paceMs,
      },
    };
  }

  async function charge(question: AttemptQuestion): Promise<Charged | Denied> {
    const answer = await store.charge(question);
    if (!(answer instanceof StoreFault)) return { store, question, answer };
    const stricter = onStoreError === "local" ? makeStricter(question, services.instances) : undefined;
    const instead = stricter === undefined ? answer : await local.charge(stricter);
    const isAdmitted = !(instead instanceof StoreFault) && instead.refusedBy === undefined;
    telemetry.degraded("login", onStoreError, answer.kind, isAdmitted ? "allowed" : "denied");
    return stricter === undefined || instead instanceof StoreFault
      ? deny("store_unavailable", { cause: `the store cannot count: ${answer.kind}`, headers: [retryAfter(1)] })
      : { store: local, question: stricter, answer: instead };
  }

  /** A failure to settle costs comfort, never safety: the attempt stays counted. */
  async function settleAttempt(
    { store: counting, question, answer }: Charged,
    account: string,
    result: AttemptOutcome["result"],
  ): Promise<void> {
    await counting.settle({
      question,
      counted: answer.counted,
      result,
      block: { longestMs: options.longestBlockMs, memoryMs },
      knownMs,
      failures: { key: keys.failedLogins(account), ttlMs: failuresMs },
    });
  }

  function createAttempt(made: {
    answer: AttemptAnswer;
    account: string;
    trusted: string | undefined;
    settle: (result: AttemptOutcome["result"]) => Promise<void>;
  }): LoginAttempt {
    const { answer, account, trusted, settle } = made;
    return {
      stepUp: answer.exhausted && options.paceMs === undefined,
      trustedDevice: trusted !== undefined,
      succeed: () => settle("succeeded"),
      fail: () => settle("failed"),
      cancel: () => settle("unchecked"),
      deviceToken: () => tokensOrMissing(tokens).issue(account),
      deviceCookie() {
        const token = tokensOrMissing(tokens).issue(account);
        const age = Math.floor((device?.lifetimeMs ?? 0) / 1000);
        return `${device?.cookie}=${token}; Path=/; Max-Age=${age}; HttpOnly; Secure; SameSite=Strict`;
      },
    };
  }
}

function tokensOrMissing(tokens: DeviceTokens | undefined): DeviceTokens {
  if (tokens === undefined) throw new TypeError("throttleLogin() trusts no device: give it the option device");
  return tokens;
}

/** Half of each limit, and this process' part of that. */
function makeStricter(question: AttemptQuestion, instances: number): AttemptQuestion {
  const { address, pair, account } = question;
  return {
    ...question,
    address: address === undefined ? undefined : halve(address, instances),
    pair: halve(pair, instances),
    account: account === undefined ? undefined : halve(account, instances),
  };
}

function halve<Limit extends ResolvedAttemptLimit>(limit: Limit, instances: number): Limit {
  return { ...limit, limit: Math.max(1, Math.floor(limit.limit / 2 / instances)) };
}

/** The first call counts; later ones wait for it. */
function once<T>(settle: (value: T) => Promise<void>): (value: T) => Promise<void> {
  let first: Promise<void> | undefined;
  return (value) => (first ??= settle(value));
}
