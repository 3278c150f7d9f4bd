import type { Denied } from "../http/verdict.js";
import { fullCause, quoted } from "../http/denial-detail.js";
import { steadyNow } from "../lib/steady-clock.js";

/** A refused request, as far as its line tells. */
export interface RefusedRequest {
  readonly method: string;
  readonly url: string;
}

export interface DevelopmentLogOptions {
  /** @default console.error, which survives a closed pipe */
  readonly write?: (line: string) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now?: () => number;
}

/** Lines that come at once. */
const burst = 50;
/** After them one line a second: at most 20 MB a day. */
const intervalMs = 1000;

/**
 * Prints one readable line for each refusal, for developers. A flood of refusals must not fill a disk, so lines are left out;
 * the next line says how many.
 */
export class DevelopmentLog {
  readonly #write: (line: string) => void;
  readonly #now: () => number;
  #tokens = burst;
  #filledAt: number;
  #leftOut = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ write = (line) => console.error(line), now = steadyNow }: DevelopmentLogOptions = {}) {
    this.#write = write;
    this.#now = now;
    this.#filledAt = now();
  }

  refused(gate: string, { status, problem, cause, detail }: Denied, request: RefusedRequest | undefined): void {
    if (!this.#takeToken()) {
      this.#leftOut += 1;
      this.#timer ??= setTimeout(() => this.#tellLeftOut(), intervalMs).unref();
      return;
    }
    this.#tellLeftOut();
    const target = request === undefined ? "" : ` ${describe(request)}`;
    const name = gate === "default" ? "" : ` [${gate}]`;
    this.#write(`portcullis${name}: ${status} ${problem.code}${target}: ${fullCause(cause, detail)}`);
  }

  close(): void {
    this.#tellLeftOut();
  }

  #takeToken(): boolean {
    const now = this.#now();
    const fresh = Math.floor((now - this.#filledAt) / intervalMs);
    if (fresh > 0) {
      this.#tokens = Math.min(burst, this.#tokens + fresh);
      this.#filledAt += fresh * intervalMs;
    } else if (fresh < 0) {
      this.#filledAt = now;
    }
    if (this.#tokens === 0) return false;
    this.#tokens -= 1;
    return true;
  }

  /** The line with the number costs no token: it comes at most once a second. */
  #tellLeftOut(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#leftOut === 0) return;
    this.#write(`portcullis: ${this.#leftOut} more refusals were left out`);
    this.#leftOut = 0;
  }
}

/**
 * Method and path. Query and fragment may hold a secret, as may the name and the password before the host of an absolute URL
 * (RFC 9112 3.2.2). The method is a text of the client too, which HTTP/2 does not bound.
 */
function describe({ method, url }: RefusedRequest): string {
  const [path = ""] = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*/i, "").split(/[?#]/, 1);
  return `${bare(method)} ${bare(path === "" ? "/" : path)}`;
}

function bare(text: string): string {
  return quoted(text).replace(/^"|"$/g, "");
}
