import type { Auth, ConnectionEnd, WatchedConnection, WatchOptions } from "@portcullis/core";
import { signToken, testAudience, testIssuer, testSecret } from "@portcullis/testkit";
import { admit, openGate } from "../../support/fake-gate.js";
import type { FakeGate, FakeOptions } from "../../support/fake-gate.js";

/** A watched connection with the reasons that it was given. */
export interface Watched {
  readonly connection: WatchedConnection;
  readonly reasons: readonly ConnectionEnd[];
  /** Resolves to the reason when the connection has to close; rejects after ten seconds. */
  readonly ended: Promise<ConnectionEnd>;
}

export function watch(gate: FakeGate, auth: Auth, options?: WatchOptions): Watched {
  const reasons: ConnectionEnd[] = [];
  let resolve: (reason: ConnectionEnd) => void = () => undefined;
  const ended = new Promise<ConnectionEnd>((done, fail) => {
    const timer = setTimeout(() => fail(new Error("the connection stays open")), 10_000);
    timer.unref();
    resolve = (reason) => {
      clearTimeout(timer);
      done(reason);
    };
  });
  ended.catch(() => undefined);
  const connection = gate.connections.watch(
    auth,
    (reason) => {
      reasons.push(reason);
      resolve(reason);
    },
    options,
  );
  return { connection, reasons, ended };
}

/** Watches a connection with a new token. */
export async function connect(gate: FakeGate, claims: Record<string, unknown> = {}): Promise<Watched> {
  return watch(gate, await admit(gate, await signToken(claims)));
}

/** A gate that issues tokens, with sessions. */
export function openIssuer(options: FakeOptions = {}): FakeGate {
  return openGate({
    tokens: { signingKey: testSecret, issuer: testIssuer, audience: testAudience },
    deadline: 2000,
    ...options,
  });
}

/** The verified token of a new session. */
export async function signIn(gate: FakeGate, subject = "alice", org?: string): Promise<Auth> {
  const { accessToken } = await gate.tokens.issue({ subject, org });
  const verified = await gate.verify(accessToken);
  if (!verified.allowed) throw new Error(verified.cause);
  return verified.auth;
}
