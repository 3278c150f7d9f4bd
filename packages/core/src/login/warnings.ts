import { GrowingLru } from "../lib/growing-lru.js";
import { logins } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { LoginWarning, Telemetry } from "../telemetry/telemetry.js";

export interface LoginWarningsOptions {
  /** Name of the throttle. */
  readonly name: string;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Unix milliseconds. */
  readonly now: () => number;
}

/** More sign-ins of one account in a minute are suspicious: wrong passwords may be reported as right. */
const maxSuccesses = 20;
const minuteMs = 60_000;
const maxAccounts = 5000;

/** Warnings about the use of a throttle. Each is counted; logs contain no names. */
export class LoginWarnings {
  readonly #options: LoginWarningsOptions;
  readonly #successes = new GrowingLru<string, { count: number; readonly until: number }>({ max: maxAccounts });
  readonly #logged = new Set<LoginWarning>();
  #mutedUntil = 0;

  constructor(options: LoginWarningsOptions) {
    this.#options = options;
  }

  /** A 2xx response for which the handler reported no success. Logged once. */
  unreportedSuccess(): void {
    this.#once(
      "unsaid_success",
      "a login was answered 2xx, but no success was reported, so the attempt stays counted: call succeed() of the attempt (or " +
        'tokens.issue({ attempt }), deviceCookie()) when the password is right, or set outcome: "status" if no wrong ' +
        "password is ever answered 2xx",
    );
  }

  /** The function `outcome` threw, or returned an invalid value. Logged once. */
  failedOutcome(): void {
    this.#once(
      "outcome_failed",
      'outcome must return "succeeded", "failed", "unchecked" or undefined, and must not throw',
    );
  }

  /** A sign-in of an account, given as a digest. Too many are logged at most once a minute. */
  succeeded(account: string): void {
    const now = this.#options.now();
    let counter = this.#successes.get(account);
    if (counter === undefined || counter.until <= now) {
      counter = { count: 0, until: now + minuteMs };
      this.#successes.set(account, counter);
    }
    counter.count += 1;
    if (counter.count !== maxSuccesses + 1) return;
    this.#options.telemetry.loginWarned(this.#options.name, "frequent_success");
    if (this.#mutedUntil > now) return;
    this.#mutedUntil = now + minuteMs;
    this.#log(
      "frequent_success",
      `one account has signed in more than ${maxSuccesses} times in a minute: are wrong passwords reported as right?`,
    );
  }

  #once(warning: LoginWarning, problem: string): void {
    this.#options.telemetry.loginWarned(this.#options.name, warning);
    if (this.#logged.has(warning)) return;
    this.#logged.add(warning);
    this.#log(warning, problem);
  }

  #log(code: LoginWarning, problem: string): void {
    const { logger, name } = this.#options;
    logger.warn(
      { throttle: name, code },
      `portcullis: throttleLogin() "${name}": ${problem} (see ${logins}#what-became-of-an-attempt)`,
    );
  }
}
