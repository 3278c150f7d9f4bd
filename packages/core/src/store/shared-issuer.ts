import type { IssuerScope } from "../auth/issuer-scope.js";
import { operations } from "../documentation.js";
import type { Logger } from "../telemetry/logger.js";
import type { SharedKeys } from "./keys.js";

/**
 * `claim`: have the shared keys if nobody has them; `force`: have them whoever has them; `look`: see who has them. Whoever
 * has them keeps them for longer by each of the first two.
 */
export type Claim = "claim" | "force" | "look";

/** Where it is kept whose the shared keys are. */
export interface IssuerMarker {
  /** The digest of the issuer that has the shared keys now; undefined if nobody has. Rejects with a StoreFault. */
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

/** A marker that is lost is written again so soon; one that is there is kept alive. */
const renewalMs = 60_000;

/** So often it is asked while nobody knows. */
const retryMs = 1000;

/**
 * Whose are the `auth:` keys, which services of other makers read and write too, and which know no issuer? They belong to
 * one issuer of a Redis: the first whose gate writes its digest to the marker. A gate of another issuer keeps what it
 * would write there under keys of its own, or one issuer's users would be signed out by the other's. A process decides
 * once, since what it has written must be found again; after that a lost marker changes nothing.
 */
export class SharedIssuer implements SharedKeys {
  readonly #options: SharedIssuerOptions;
  readonly #how: Claim;
  #areOurs: boolean | undefined;
  #conflict: SharedIssuer["conflict"];
  #marker: IssuerMarker | undefined;
  #isAsking = false;
  /** Until the answer, or until nobody waits for it any more. */
  #waiting: Promise<void> | undefined;
  #patienceMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopListening: (() => void) | undefined;

  constructor(options: SharedIssuerOptions) {
    const { issuers, verifies } = options;
    this.#options = options;
    this.#how = issuers.isSaid ? "force" : verifies ? "claim" : "look";
    if (issuers.isSaid) this.#areOurs = issuers.sharing !== undefined;
  }

  get areOurs(): boolean | undefined {
    return this.#areOurs;
  }

  /** What is wrong, in a sentence, if another issuer has the shared keys. */
  get conflict(): string | undefined {
    return this.#conflict;
  }

  /** Begins to ask; without a marker the keys are this process' own. A call waits for the answer for `patienceMs` at most. */
  start(marker: IssuerMarker | undefined, patienceMs = 0): void {
    if (marker === undefined) this.#areOurs ??= true;
    if (marker === undefined || this.#options.issuers.sharing === undefined) return;
    this.#marker = marker;
    this.#patienceMs = patienceMs;
    this.#stopListening = marker.onConnect(() => this.renew());
    this.#lookAgainLater();
    this.renew();
  }

  /** Resolves when it is known whose the keys are, or when nobody can tell now; undefined where it is known already. */
  settled(): Promise<void> | undefined {
    return this.#areOurs === undefined ? this.#waiting : undefined;
  }

  /** Looks at the marker again: it may be lost. A fault is asked about again; each request meets it by itself. */
  renew(): void {
    const marker = this.#marker;
    if (marker === undefined || this.#isAsking) return;
    const ours = this.#options.issuers.sharing ?? "";
    this.#isAsking = true;
    const asking = marker
      .claim(ours, this.#how)
      .then(
        (holder) => this.#judge(holder === undefined || holder === ours),
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

  #judge(areOurs: boolean): void {
    // Counts of a minute may change their keys, and are missed by nobody here; what a gate has revoked must stay.
    if (this.#how === "look") {
      this.#areOurs = areOurs;
      return;
    }
    this.#areOurs ??= areOurs;
    const before = this.#conflict;
    this.#conflict = areOurs ? undefined : this.#areOurs ? usedByTwo : apart;
    if (this.#conflict === undefined || before !== undefined) return;
    const code = "shared_issuer_taken";
    const text = `portcullis: ${this.#conflict} (see ${operations}#${code})`;
    this.#options.logger.warn({ code, severity: "error" }, text);
  }

  #waitFor(asking: Promise<void>): void {
    let timer: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#patienceMs);
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
