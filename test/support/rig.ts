import { randomUUID } from "node:crypto";
import { StoreFault } from "@portcullis/core";
import { nowSeconds, signToken, testAuth } from "@portcullis/testkit";
import { adapters } from "./app.js";
import type { AnyOptions, RunningApp, TestAdapter } from "./app.js";
import { cleanUp } from "./clean-up.js";
import { send } from "./http.js";
import type { TestAnswer } from "./http.js";
import { startLoopClock } from "./loop-clock.js";
import type { Witness } from "./witness.js";
import { keySecret, startWitness } from "./witness.js";

/** An application behind a gate, about to have a bad day, with a good and a revoked token. */
export interface Rig {
  readonly app: RunningApp;
  readonly url: string;
  readonly token: string;
  readonly revoked: string;
  readonly witness: Witness;
  /** One request, answered in time. */
  ask(token?: string): Promise<TestAnswer>;
  /** Some requests in turn, good tokens and the revoked one: the statuses of the good ones. None with the other may pass. */
  traffic(count: number): Promise<Set<number>>;
  /** Resolves when a good token passes, whatever is known about the revoked one. */
  works(): Promise<void>;
  /** Resolves when the token with this id is known to be revoked. */
  knows(jti: string): Promise<void>;
  /** Resolves when Redis refuses by this word, and the gate therefore. */
  refuses(reply: string): Promise<void>;
  /** Resolves when good tokens pass time after time, and the revoked one never does. */
  serves(): Promise<void>;
  /** Resolves when a good token passes and the revoked one is known again. */
  recovered(): Promise<void>;
}

/** Of the token that every rig has revoked. */
export const revokedJti = "{seeded-jti}";
/** A machine may be slow for a moment, though only idle time counts here; a hanging request is far slower. */
const slowness = 5;
const defaultDeadlineMs = 50;
/** Five times the promised two deadlines. */
export const muchTooLongMs = slowness * 2 * defaultDeadlineMs;
/** Ten times what an outage may last after its cause is gone. */
const patienceMs = 25_000;

type RigGateOptions = Partial<AnyOptions> & {
  /** Milliseconds. Where every answer matters, longer than a busy machine takes for one. @default 50 */
  readonly deadline?: number;
};

export interface RigOptions {
  readonly adapter?: TestAdapter | undefined;
  /** Wait until everything works? @default true */
  readonly waits?: boolean;
}

/** The gate is closed after the test, and must not have said a secret. */
export async function startRig(
  options: RigGateOptions,
  { adapter = adapters[0], waits = true }: RigOptions = {},
): Promise<Rig> {
  if (adapter === undefined) throw new Error("there is no adapter");
  const tooLongMs = slowness * 2 * (options.deadline ?? defaultDeadlineMs);
  const witness = startWitness();
  const clock = startLoopClock();
  const app = await adapter.start({
    options: { auth: testAuth, keySecret, logger: witness.logger, ...options },
    use: (gate) => [gate.unless({ path: "/public" }, gate.guard())],
    routes: {
      "GET /public": () => ({ public: true }),
      "GET /me": ({ auth, quotas }) => ({ subject: auth?.subject ?? null, quotas }),
      "GET /cached": async ({ cache }) => cache.getOrSet({ key: "k" }, () => ({ made: true })),
      "POST /logout": async ({ auth }, gate) => gate.revocations.revoke(auth),
    },
  });
  const url = `${app.url}/me`;
  // By their jti both tokens are in one slot of a Cluster, so that the same master answers about both.
  const token = await signToken({ sub: "seeded-subject", jti: `${revokedJti}:good:${randomUUID()}` });
  const revoked = await signToken({ jti: revokedJti });
  cleanUp(async () => {
    witness.hearMetrics(app.gate);
    await app.close();
    witness.finish("seeded-jti", "seeded-subject", token.split(".")[2] ?? token);
  });

  async function ask(which = token): Promise<TestAnswer> {
    const since = clock();
    const answer = await send(url, { token: which });
    const ms = clock() - since;
    if (ms > tooLongMs) throw new Error(`a request took ${ms} ms`);
    return answer;
  }

  async function until(good: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + patienceMs;
    while (!(await good())) {
      if (Date.now() > deadline) throw new Error("the gate did not recover");
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  async function revoke(): Promise<boolean> {
    const revoking = app.gate.revocations.revoke({ jti: revokedJti, expiresAt: nowSeconds() + 300 });
    return revoking.then(
      () => true,
      () => false,
    );
  }

  async function traffic(count: number): Promise<Set<number>> {
    const statuses = new Set<number>();
    for (let index = 0; index < count; index += 1) {
      const answers = await Promise.all([ask(), ask(), ask(revoked)]);
      statuses.add(answers[0].status).add(answers[1].status);
      if (answers[2].status === 200) throw new Error("a revoked token was accepted");
    }
    return statuses;
  }

  const { revocations } = app.gate;
  if (waits) {
    await until(async () => (await ask()).status === 200);
    await until(revoke);
  }
  return {
    app,
    url,
    token,
    revoked,
    witness,
    ask,
    traffic,
    knows: (jti) => until(() => revocations.isRevoked({ jti }).catch(() => false)),
    refuses: (reply) =>
      until(() =>
        revocations.isRevoked({ jti: revokedJti }).then(
          () => false,
          (error: unknown) => error instanceof StoreFault && error.reply === reply,
        ),
      ),
    serves: () => until(async () => [...(await traffic(3))].every((status) => status === 200)),
    works: () => until(async () => (await ask()).status === 200),
    recovered: () => until(async () => (await ask()).status === 200 && (await ask(revoked)).status === 401),
  };
}
