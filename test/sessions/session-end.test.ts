import { readFile, readdir } from "node:fs/promises";
import type { IssueRequest, IssuedTokens, TokensOptions } from "@portcullis/core";
import { testIssuer, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import { resolveOptions } from "../../packages/core/src/options.js";
import { createProblemTypes } from "../../packages/core/src/http/problem-types.js";
import { CutoffRules } from "../../packages/core/src/revocation/cutoffs.js";
import { RevocationService } from "../../packages/core/src/revocation/revocations.js";
import type { SessionServices } from "../../packages/core/src/sessions/session-services.js";
import { createSessions } from "../../packages/core/src/sessions/session-services.js";
import type { SessionEnd } from "../../packages/core/src/sessions/events.js";
import { Telemetry } from "../../packages/core/src/telemetry/telemetry.js";
import { SessionEvents } from "../../packages/core/src/sessions/events.js";
import { Keyspace } from "../../packages/core/src/store/keyspace.js";
import { MemoryChannels } from "../../packages/core/src/store/memory/channels.js";
import { MemoryDecisionStore } from "../../packages/core/src/store/memory/decisions.js";
import { MemorySessionStore } from "../../packages/core/src/store/memory/sessions.js";
import { StoreFault } from "../../packages/core/src/store/ports/fault.js";
import type { Selection } from "../../packages/core/src/store/ports/sessions.js";
import { silentLogger } from "../support/logger.js";
import { rejectionOf } from "../support/rejection.js";

interface Bench extends SessionServices {
  readonly auth: (tokens: IssuedTokens) => Parameters<SessionServices["sessions"]["revokeOthers"]>[0];
  /** What was written and told, in order, since the last call. Sessions are numbered as they were issued. */
  readonly takeSteps: () => string[];
  /** From now on the set of tokens that other services share cannot be written. */
  readonly failToTrack: () => void;
}

/** The session services of a gate, of whose stores and channels every write and message is noted. */
function openBench(options: Partial<TokensOptions>): Bench {
  const tokens = { signingKey: testSecret, issuer: testIssuer, audience: "shop", overlap: 0, ...options };
  const resolved = resolveOptions<unknown>({ tokens, redis: "memory", logger: silentLogger });
  if (resolved.auth === undefined) throw new Error("the gate has no auth");
  const issuers = resolved.auth.scope;
  const keys = new Keyspace("", "test", { issuers });
  const steps: string[] = [];
  const ids: string[] = [];
  let isTracking = true;

  const numberOf = (id: string): string => `session ${ids.includes(id) ? ids.indexOf(id) + 1 : ids.length + 1}`;
  const nameOf = (key: string): string => {
    const [, kind, id = ""] = /cutoff:(sid|org):[0-9a-f]+:(.*)$/.exec(key) ?? [];
    return kind === "sid" ? numberOf(id) : kind === "org" ? "the organisation" : "the user";
  };
  const selected = (one: Selection): string => (one.kind === "all" ? "all" : `${one.kind} ${numberOf(one.id)}`);

  const memory = new MemoryDecisionStore();
  const revocationStore = noting(memory, {
    cutOff: (key: string, _ttl: number, at?: number) =>
      steps.push(`cut off ${nameOf(key)}${at === undefined ? "" : ` at ${at}`}`),
    revoke: () => steps.push("revoke the token"),
  });
  const sessions = noting(
    new MemorySessionStore({ revocationStore: memory, cutoffAt: (key) => memory.cutoffAt(key), marginSeconds: 0 }),
    {
      end: (_keys: unknown, selection: Selection) => steps.push(`delete ${selected(selection)}`),
      endGroup: () => steps.push("delete the tokens of the organisation"),
      trackSubject() {
        if (!isTracking) throw new StoreFault("unreachable");
      },
    },
  );
  const channels = noting(new MemoryChannels(), {
    publish(_channel: string, message: string) {
      const { reason, sessionIds } = JSON.parse(message) as SessionEnd;
      steps.push(`tell ${reason}${sessionIds === undefined ? "" : ` of ${sessionIds.map(numberOf).join(" and ")}`}`);
    },
  });
  const events = new SessionEvents(channels, issuers, silentLogger);
  const cutoffs = new CutoffRules({
    ...{ maxLifetimeSeconds: 3600, marginSeconds: 0, cutoffMarginSeconds: 0, ownIssuer: testIssuer },
  });
  const common = { keys, cutoffs, now: Date.now, problemTypes: createProblemTypes(undefined) };
  const revocations = new RevocationService({
    ...common,
    events,
    keyspace: keys,
    store: revocationStore,
    decisions: revocationStore,
    issuers,
    marginSeconds: 0,
    orgClaim: "org_id",
  });
  const services = createSessions(resolved, {
    ...common,
    events,
    telemetry: new Telemetry(),
    stores: {
      decisions: revocationStore,
      revocations: revocationStore,
      sessions,
      state: () => revocationStore.state(),
    },
    revocations,
  });
  return {
    ...services,
    tokens: {
      ...services.tokens,
      refresh: (token) => services.tokens.refresh(token),
      async issue(request: IssueRequest) {
        const issued = await services.tokens.issue(request);
        ids.push(issued.sessionId);
        return issued;
      },
    },
    auth: ({ sessionId, expiresAt }) =>
      ({
        principal: "alice",
        issuer: testIssuer,
        sessionId,
        token: "a.b.c",
        jti: "jti",
        expiresAt,
        claims: {},
      }) as never,
    takeSteps: () => steps.splice(0),
    failToTrack: () => (isTracking = false),
  };
}

/** The same object, of which some methods say that they are called. */
function noting<T extends object>(target: T, notes: Readonly<Record<string, (...args: never[]) => unknown>>): T {
  return new Proxy(target, {
    get(_target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return async (...args: never[]) => {
        notes[name as string]?.(...args);
        return (await Reflect.apply(member, target, args)) as unknown;
      };
    },
  });
}

interface Way {
  readonly name: string;
  readonly options?: Partial<TokensOptions>;
  /** Alice has two sessions in one organisation. */
  readonly end: (bench: Bench, first: IssuedTokens, second: IssuedTokens) => Promise<unknown>;
  readonly steps: readonly string[];
}

const ways: readonly Way[] = [
  {
    name: "log-out",
    end: ({ sessions, auth }, first) => sessions.revoke(auth(first)),
    steps: [
      "revoke the token",
      "tell token",
      "cut off session 1",
      "tell revoked of session 1",
      "delete only session 1",
    ],
  },
  {
    name: "the end of one session that its user chooses",
    end: ({ sessions }, _first, { sessionId }) => sessions.revoke("alice", sessionId),
    steps: ["cut off session 2", "tell revoked of session 2", "delete only session 2"],
  },
  {
    name: "the end of all other sessions",
    end: ({ sessions, auth }, first) => sessions.revokeOthers(auth(first)),
    steps: ["cut off session 2", "tell revoked of session 2", "delete except session 1"],
  },
  {
    name: "log-out everywhere",
    end: ({ sessions }) => sessions.revokeAll("alice"),
    steps: ["cut off the user", "tell all", "delete all"],
  },
  {
    name: "the end of an organisation's sessions",
    end: ({ sessions }) => sessions.revokeGroup("acme"),
    steps: [
      ...["cut off the organisation", "tell group", "delete the tokens of the organisation"],
      ...["delete only session 1", "delete only session 2"],
    ],
  },
  {
    name: "a sign-in beyond the maximum number of sessions",
    options: { maxSessions: 2 },
    end: ({ tokens }) => tokens.issue({ subject: "alice" }),
    steps: ["tell evicted of session 1", "cut off session 1"],
  },
  {
    name: "the reuse of a refresh token",
    async end({ tokens, takeSteps }, _first, { refreshToken }) {
      await tokens.refresh(refreshToken);
      takeSteps();
      await tokens.refresh(refreshToken);
    },
    steps: ["tell reused of session 2", "cut off session 2"],
  },
  {
    name: "the clean-up of a session whose tokens nobody got",
    end({ tokens, failToTrack }) {
      failToTrack();
      return tokens.issue({ subject: "alice" });
    },
    steps: ["cut off session 3", "tell revoked of session 3", "delete only session 3"],
  },
  {
    name: "a client that revokes a refresh token",
    end: async ({ logout }, _first, { refreshToken }) => logout?.revokeRefreshToken?.(refreshToken),
    steps: ["cut off session 2", "tell revoked of session 2", "delete only session 2"],
  },
  {
    name: "a provider that logs out a session",
    end: async ({ logout }, _first, { sessionId }) =>
      logout?.logOut({ issuer: testIssuer, principal: "alice", sessionId, issuedAt: 1000 }),
    steps: ["cut off session 2", "tell revoked of session 2", "delete only session 2"],
  },
  {
    name: "a provider that logs out a session of a user whom it does not name",
    end: async ({ logout }, _first, { sessionId }) =>
      logout?.logOut({ issuer: testIssuer, principal: undefined, sessionId, issuedAt: 1000 }),
    steps: ["cut off session 2", "tell revoked of session 2"],
  },
  {
    name: "a provider that logs out a user",
    end: async ({ logout }) =>
      logout?.logOut({ issuer: testIssuer, principal: "alice", sessionId: undefined, issuedAt: 1000 }),
    steps: ["cut off the user at 1005", "tell all", "delete all"],
  },
];

describe("every way in which a session ends", () => {
  for (const { name, options = {}, end, steps } of ways) {
    it(`has one order of writes and messages: ${name}`, async () => {
      const bench = openBench(options);
      const first = await bench.tokens.issue({ subject: "alice", org: "acme" });
      const second = await bench.tokens.issue({ subject: "alice", org: "acme" });
      expect(bench.takeSteps()).to.deep.equal([]);
      await end(bench, first, second).catch((error: unknown) => {
        if (!(error instanceof Error) || error instanceof TypeError) throw error;
      });
      expect(bench.takeSteps()).to.deep.equal(steps);
    });
  }

  it("ends nothing when a refresh is refused because the user is cut off already", async () => {
    const bench = openBench({});
    const { refreshToken } = await bench.tokens.issue({ subject: "alice" });
    await bench.sessions.revokeAll("alice");
    bench.takeSteps();
    const error = await rejectionOf(bench.tokens.refresh(refreshToken));
    expect(error).to.include({ name: "TokenError", reason: "the token is revoked" });
    expect(bench.takeSteps()).to.deep.equal([]);
  });

  it("goes through sessions/logout.ts, which alone cuts sessions off, deletes and announces them", async () => {
    const found: string[] = [];
    for (const folder of ["sessions", "login", "routes", "guard"]) {
      const url = new URL(`../../packages/core/src/${folder}/`, import.meta.url);
      for (const file of await readdir(url)) {
        const text = await readFile(new URL(file, url), "utf8");
        if (/\bsecurity\.cutOff\(|\bstore\.end(?:Group)?\(|\b(?:news|events)\.announce\(/.test(text))
          found.push(`${folder}/${file}`);
      }
    }
    expect(found).to.deep.equal(["sessions/logout.ts"]);
  });
});
