/** Application processes: two of Express and two of Koa, of the majors in support. */
export const applications = ["Express", "Express 4", "Koa", "Koa 2"] as const;

/** How long after a fault the gate may still work by its rules for bad days: breaker, reconnection, a heartbeat. */
export const settleMs = 5000;

/** The longest time that any request may take, while its process runs: a turn for a login, or a response, is waited for 5 s. */
export const longestAnswerMs = 8000;

/** `cache.local.ttl`, and what a busy machine may add to it. */
export const localTtlMs = 1000;
export const slackMs = 1000;

/** `revocation.staleness` of the processes that keep the answer "not revoked". */
export const stalenessMs = 1000;

/** `tokens.overlap`: how long a client may ask again for an answer that was lost. */
export const overlapMs = 10_000;

/** How long after the last client has gone a slot of `concurrency` may be taken: `releaseAfter`, and some seconds. */
export const slotsBackMs = 14_000;

/** How long readers may wait for a value that another process makes, unless that process is dead or cut off. */
export const makingMs = 2000;

/** A limit counts by a key that lives shorter than the window, so that the whole limit is what may ever be admitted. */
export const windowSeconds = 60;
export const keyLifeMs = 45_000;

export const limits = {
  fixed: { limit: 20, algorithm: "fixed-window" },
  sliding: { limit: 20, algorithm: "sliding-window" },
  bucket: { limit: 20, algorithm: "token-bucket" },
  leased: { limit: 80, algorithm: "fixed-window", precision: "leased" },
} as const;
export type LimitName = keyof typeof limits;

export const slots = { limit: 3, window: "1m" } as const;

/** How long a key of an order stays claimed by a process that has died, and how long another request waits for it. */
export const orders = { lease: "5s", wait: "2s" } as const;

/** Reserved for a request, and what it costs in the end. */
export const settled = { cost: 5, costs: 1 } as const;

/** What a lock of the login lets through: guesses for an account at one address in a minute. */
export const guesses = 5;

/** The limit of a client without and with an override. */
export const ruled = { limit: 5000, override: 7, for: "30m" } as const;

/** What one process admits while Redis is away. */
export function localLimit(limit: number): number {
  return Math.ceil(limit / applications.length);
}

/** Half of the limit, divided among the processes, is what a login lets through while Redis is away. */
export const localGuesses: number = Math.max(1, Math.ceil(guesses / 2 / applications.length));

/** Resident memory of an application process that has only bounded tables. */
export const mostHeapBytes: number = 200 * 1024 * 1024;
/** How long a process may take to end after SIGTERM. */
export const exitMs = 10_000;

/** What tokens are signed with, and what they say. */
export function secretOf(seed: number): string {
  return `chaos-${seed}-`.padEnd(40, "k");
}
export const tokenIssuer = "https://id.test";
export const tokenAudience = "chaos";

/** The channel whose messages streams of events bring, and how often a stream without any says something. */
export const eventsChannel = "posts";
export const heartbeat = "1s";
/** A client leaves a stream that has said nothing for so long, and connects to another process. */
export const silentMs = 3500;

/** An open connection ends within this time of the end of its session, while its process runs and reaches Redis. */
export const cutMs = 1000;
/** By so much a clock may be wrong before a process judges times by the clock of Redis. */
export const clockToleranceMs = 5000;
/** How long after an event was published, while all is well, somebody looks whether every reader has it. */
export const arrivalMs = 20_000;
