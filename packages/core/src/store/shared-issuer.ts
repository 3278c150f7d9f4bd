import type { IssuerScope } from "../auth/issuer-scope.js";
import { operations } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { StoreFault } from "./ports/fault.js";
import { clearTimeout, setTimeout } from "../lib/real-timers.js";

/**
 * `claim` gives the shared keys to an issuer if they have no owner; `force` gives them to it in any case; `look` reads
 * the owner. The first two also extend the marker of an issuer that owns the keys.
 */
export type Claim = "claim" | "force" | "look";

/** The record of the issuer that owns the shared keys. */
export interface IssuerMarker {
  /**
   * Resolves to the digest of the issuer that owns the shared keys, or that owned them until this call; undefined
   * without an owner. Rejects with a StoreFault.
   */
  claim(issuer: string, how: Claim): Promise<string | undefined>;
  /** Can the store be asked now? */
  isUp(): boolean;
  /** How long a call may wait for an answer, with the time to make the connection. */
  readonly waitMs: number;
  /** Counts a call that waits for the answer, until `leave`. Returns the fault of a call that must not wait. */
  enter(): StoreFault | undefined;
  leave(calls: number): void;
  /** Is a connection being made that has not failed? Then an answer may come soon. */
  readonly isPromising: boolean;
  /** Calls the listener at each new connection. Returns a function that removes the listener. */
  onConnect(listener: () => void): () => void;
}

export interface SharedIssuerOptions {
  readonly issuers: IssuerScope;
  /** Does the gate verify tokens? A gate that does not never claims the keys. */
  readonly verifies: boolean;
  readonly logger: Logger;
}

const apart =
  "the auth: keys of this Redis belong to another issuer, so this gate keeps its own apart; " +
  "if that is right say auth.sharedIssuer: false, else the name of its issuer here and false in the services of the other";
const usedByTwo =
  "two issuers use the auth: keys of this Redis, and users of one name meet there; " +
  "say auth.sharedIssuer in all services: its name for the issuer that has them, false for all others";
const unsaid =
  "the auth: keys of this Redis belong to one of this gate's issuers, and it does not use them, so that it does not see what other gates of the issuer revoke; say auth.sharedIssuer";
const late =
  "the auth: keys of this Redis have become those of this gate's issuer after it began to keep its own apart, so that other processes of the issuer do not see what it revokes; start it anew";

/** Interval in which the marker is extended, or written again after a loss. */
const renewalMs = 60_000;

/** Interval of the questions while the owner is unknown. */
const retryMs = 1000;

/**
 * Finds out whom the shared `auth:` keys belong to. Other services read and write these keys too, and they contain no
 * issuer. They belong to one issuer of a Redis: the first whose gate writes its digest to the marker. A gate of another
 * issuer uses keys of its own instead: otherwise the users of one issuer could sign out those of the other. A process
 * decides once, since it must find its records again. A lost marker changes nothing later, and every process writes it
 * again for the former owner. So all processes of one issuer decide alike, in whatever order they start.
 */
export class SharedIssuer implements SharedKeys {
  readonly #options: SharedIssuerOptions;
  readonly #how: Claim;
  #areOurs: boolean | undefined;
  #isPresumed = false;
  #hasFailed = false;
  /** The owner at the last look. */
  #holder: string | undefined;
  #conflict: SharedIssuer["conflict"];
  #marker: IssuerMarker | undefined;
  /** The question in progress. */
  #asking: Promise<void> | undefined;
  /** The wait of calls for the question in progress, from the first of these calls. */
  #waiting: Promise<void> | undefined;
  /** The number of these calls. */
  #waiters = 0;
  #hasWaited = false;
  #timer: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;

  constructor(options: SharedIssuerOptions) {
    const { issuers, verifies } = options;
    this.#options = options;
    const isNobodys = issuers.sharing === undefined;
    this.#how = isNobodys || !verifies ? "look" : issuers.isSaid ? "force" : "claim";
    if (isNobodys || issuers.isSaid) this.#areOurs = !isNobodys;
  }

  get areOurs(): boolean | undefined {
    return this.#isPresumed ? true : this.#areOurs;
  }

  get isPresumed(): boolean {
    return this.#isPresumed;
  }

  /** Are tokens refused, since the store does not say who the owner is? */
  get refusesTokens(): boolean {
    return this.#hasFailed && this.#areOurs === undefined && this.#options.verifies && !this.#isPresumed;
  }

  /** The conflict as a sentence, if another issuer owns the shared keys. */
  get conflict(): string | undefined {
    return this.#conflict;
  }

  /**
   * Begins to ask. Without a marker the keys belong to this process.
   */
  start(marker: IssuerMarker | undefined): void {
    if (marker === undefined) this.#areOurs ??= true;
    const { sharing, isSaid } = this.#options.issuers;
    if (marker === undefined || (sharing === undefined && isSaid)) return;
    this.#marker = marker;
    this.#stopListening = marker.onConnect(() => this.renew());
    this.#lookAgainLater();
    this.renew();
  }

  /** Resolves when the owner is known, or cannot be found out now; undefined if it is known already. */
  resolved(whose?: "background"): Promise<void> | undefined {
    if (this.#areOurs !== undefined) return undefined;
    if (this.#isPresumed || this.#marker?.isPromising === true) this.renew();
    this.#waiting ??= this.#wait();
    if (this.#waiting === undefined || whose === "background") return this.#waiting;
    const refusal = this.#marker?.enter();
    if (refusal !== undefined) return Promise.reject(refusal);
    this.#waiters += 1;
    return this.#waiting;
  }

  /** Looks at the marker again, which may be lost. After a fault the next look follows later. */
  renew(): void {
    const marker = this.#marker;
    if (marker === undefined || this.#asking !== undefined) return;
    const ours = this.#options.issuers.sharing ?? "";
    const whose = this.#how === "claim" ? (this.#holder ?? ours) : ours;
    this.#hasWaited = false;
    this.#asking = marker
      .claim(whose, this.#how)
      .then(
        (holder) => {
          this.#hasFailed = false;
          this.#judge(holder);
        },
        () => void (this.#hasFailed = true),
      )
      .finally(() => (this.#asking = undefined));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stopListening?.();
    this.#marker = undefined;
  }

  #judge(holder: string | undefined): void {
    const { issuers, verifies, logger } = this.#options;
    // Without verification, only counts of a minute use these keys, and they may change their keys. Revocations must not.
    if (!verifies) {
      this.#areOurs = holder === undefined || holder === issuers.sharing;
      return;
    }
    this.#holder = holder ?? this.#holder;
    // The store takes no writes: it may give the same answer to the next issuer.
    this.#isPresumed = this.#areOurs === undefined && this.#holder === undefined;
    if (this.#isPresumed || this.#holder === undefined) return;
    this.#areOurs ??= this.#holder === issuers.sharing;
    const before = this.#conflict;
    this.#conflict = this.#conflictWith(this.#holder);
    if (this.#conflict === undefined || this.#conflict === before) return;
    const code = "shared_issuer_taken";
    logger.warn({ code, severity: "error" }, `portcullis: ${this.#conflict} (see ${operations}#${code})`);
  }

  #conflictWith(holder: string): string | undefined {
    const { issuers } = this.#options;
    if (issuers.sharing === undefined) return issuers.knows(holder) ? unsaid : undefined;
    if (this.#areOurs === true) return holder === issuers.sharing ? undefined : usedByTwo;
    return holder === issuers.sharing ? late : apart;
  }

  /** Calls wait once for each question: from the first call, which may come long after the start. */
  #wait(): Promise<void> | undefined {
    if (this.#asking === undefined || this.#marker === undefined || this.#hasWaited) return undefined;
    this.#hasWaited = true;
    const marker = this.#marker;
    const { waitMs } = marker;
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(() => setImmediate(resolve), waitMs);
    });
    return Promise.race([this.#asking, enough]).finally(() => {
      clearTimeout(timer);
      this.#waiting = undefined;
      marker.leave(this.#waiters);
      this.#waiters = 0;
    });
  }

  #lookAgainLater(): void {
    this.#timer = setTimeout(
      () => {
        if (this.#marker?.isUp() === true) this.renew();
        this.#lookAgainLater();
      },
      this.#areOurs === undefined ? retryMs : renewalMs,
    );
    this.#timer.unref();
  }
}

/** Says whether the shared `auth:` keys belong to this gate's issuer. */
export interface SharedKeys {
  /** Undefined while the answer is unknown. */
  readonly areOurs: boolean | undefined;
  /** Is the answer an assumption that may change? Then keys must be made anew for each use. */
  readonly isPresumed: boolean;
  /**
   * Resolves when the answer is known, or cannot be found out now; undefined if it is known already. Rejects with a StoreFault
   * if too many calls wait, unless no request waits for this one ("background").
   */
  resolved(whose?: "background"): Promise<void> | undefined;
}

export const ourOwn: SharedKeys = { areOurs: true, isPresumed: false, resolved: () => undefined };
