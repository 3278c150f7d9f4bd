import type { IssuerScope } from "../auth/issuer-scope.js";
import { operations } from "../lib/documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { SharedKeys } from "./keyspace.js";

/**
 * `claim`: give the shared keys to an issuer if nobody has them; `force`: give them to it whoever has them; `look`: see who has
 * them. An issuer that has them keeps them for longer by each of the first two.
 */
export type Claim = "claim" | "force" | "look";

/** Where it is kept whose the shared keys are. */
export interface IssuerMarker {
  /** The digest of the issuer that has the shared keys now, or had them until this call; undefined if none has. Rejects with a StoreFault. */
  claim(issuer: string, how: Claim): Promise<string | undefined>;
  /** Can the store be asked at all? */
  isUp(): boolean;
  /** Calls the listener whenever there is a new connection; returns how to stop that. */
  onConnect(listener: () => void): () => void;
}

export interface SharedIssuerOptions {
  readonly issuers: IssuerScope;
  /** Does the gate verify tokens? One that does not takes the keys from nobody. */
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

/** A marker that is lost is written again so soon; one that is there is kept alive. */
const renewalMs = 60_000;

/** So often it is asked while nobody knows. */
const retryMs = 1000;

/**
 * Whose are the `auth:` keys, which services of other makers read and write too, and which know no issuer? They belong to
 * one issuer of a Redis: the first whose gate writes its digest to the marker. A gate of another issuer keeps what it
 * would write there under keys of its own, or one issuer's users would be signed out by the other's. A process decides
 * once, since what it has written must be found again; after that a lost marker changes nothing, and every process writes
 * it again for the issuer that had them. So the processes of one issuer decide alike, whichever of them starts when.
 */
export class SharedIssuer implements SharedKeys {
  readonly #options: SharedIssuerOptions;
  readonly #how: Claim;
  #areOurs: boolean | undefined;
  #isPresumed = false;
  /** The issuer that had them when this process looked last. */
  #holder: string | undefined;
  #conflict: SharedIssuer["conflict"];
  #marker: IssuerMarker | undefined;
  #isAsking = false;
  /** Until the answer, or until nobody waits for it any more. */
  #waiting: Promise<void> | undefined;
  #waitTimeoutMs = 0;
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

  /** What is wrong, in a sentence, if another issuer has the shared keys. */
  get conflict(): string | undefined {
    return this.#conflict;
  }

  /** Begins to ask; without a marker the keys are this process' own. A call waits for the answer for `waitTimeoutMs` at most. */
  start(marker: IssuerMarker | undefined, waitTimeoutMs = 0): void {
    if (marker === undefined) this.#areOurs ??= true;
    const { sharing, isSaid } = this.#options.issuers;
    if (marker === undefined || (sharing === undefined && isSaid)) return;
    this.#marker = marker;
    this.#waitTimeoutMs = waitTimeoutMs;
    this.#stopListening = marker.onConnect(() => this.renew());
    this.#lookAgainLater();
    this.renew();
  }

  /** Resolves when it is known whose the keys are, or when nobody can tell now; undefined where it is known already. */
  settled(): Promise<void> | undefined {
    if (this.#areOurs !== undefined) return undefined;
    if (this.#isPresumed) this.renew();
    return this.#waiting;
  }

  /** Looks at the marker again: it may be lost. A fault is asked about again; each request meets it by itself. */
  renew(): void {
    const marker = this.#marker;
    if (marker === undefined || this.#isAsking) return;
    const ours = this.#options.issuers.sharing ?? "";
    const whose = this.#how === "claim" ? (this.#holder ?? ours) : ours;
    this.#isAsking = true;
    const asking = marker
      .claim(whose, this.#how)
      .then(
        (holder) => this.#judge(holder),
        () => undefined,
      )
      .finally(() => (this.#isAsking = false));
    if (this.#areOurs === undefined) this.#waitFor(asking);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#stopListening?.();
    this.#marker = undefined;
  }

  #judge(holder: string | undefined): void {
    const { issuers, verifies, logger } = this.#options;
    // Counts of a minute may change their keys, and are missed by nobody here; what a gate has revoked must stay.
    if (!verifies) {
      this.#areOurs = holder === undefined || holder === issuers.sharing;
      return;
    }
    this.#holder = holder ?? this.#holder;
    // The store takes no writes: the next issuer that asks may be told the same.
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

  #waitFor(asking: Promise<void>): void {
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#waitTimeoutMs);
    });
    this.#waiting = Promise.race([asking, enough]).finally(() => {
      clearTimeout(timer);
      this.#waiting = undefined;
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
