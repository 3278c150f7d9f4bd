import { setTimeout as sleep } from "node:timers/promises";
import { monotonicMs } from "../history.js";
import type { Facts } from "../history.js";
import type { Dice } from "../random.js";
import { applications, overlapMs } from "../settings.js";
import { ask } from "./world.js";
import type { Answered, World } from "./world.js";

/** A session as its client knows it. */
export interface Session {
  /** Names it in the history. */
  readonly label: string;
  readonly subject: string;
  access: string;
  refresh: string;
  /** Names the tokens: the number of the refresh that gave them. */
  generation: number;
  /** When the access token was handed out. */
  since: number;
  /** When the access token expires, by the monotonic clock. */
  expires: number;
}

/** When a token that was just handed out expires, by the monotonic clock. */
function expiryOf(body: Readonly<Record<string, unknown>>, at: number): number {
  return at + Number(body.expires_in) * 1000;
}

export interface SignIn {
  readonly client: string;
  readonly subject: string;
  readonly from: string;
  readonly label: string;
  readonly password?: string;
  readonly leaveAfterMs?: number;
}

/** Signs in; undefined where that was refused, or nobody answered. */
export async function signIn(world: World, process: number, options: SignIn): Promise<Session | undefined> {
  const { client, subject, from, label, password = "right", leaveAfterMs } = options;
  const { operation, body } = await ask(world, client, {
    ...{ name: "login", method: "POST", path: "/login", process, leaveAfterMs },
    headers: { "x-account": subject, "x-password": password, "x-forwarded-for": from },
    args: { subject, from, session: label, right: password === "right" },
  });
  if (operation.status !== 200) return undefined;
  const { access_token: access, refresh_token: refresh } = body as { access_token: string; refresh_token: string };
  const expires = expiryOf(body, operation.end);
  return { label, subject, access, refresh, generation: 0, since: operation.end, expires };
}

/** What the history says of a request with the access token of a session. */
export function tokenFacts({ label, subject, generation, since }: Session): Facts {
  return { session: label, subject, token: `${label} ${generation}`, since };
}

/** Reads something that is for this user. */
export async function readOwn(world: World, client: string, session: Session, own: Dice): Promise<Answered> {
  const path = own.pick(["/me", "/me", "/mine", "/mine/page"]);
  const process = own.between(0, applications.length - 1);
  return ask(world, client, { name: "read", path, process, token: session.access, args: tokenFacts(session) });
}

async function presentRefresh(
  world: World,
  client: string,
  session: Session,
  process: number,
  more: { readonly firstSent: number; readonly leaveAfterMs?: number | undefined },
): Promise<Answered> {
  const { label, subject, generation, since } = session;
  return ask(world, client, {
    ...{ name: "refresh", method: "POST", path: "/refresh", process, leaveAfterMs: more.leaveAfterMs },
    headers: { "x-refresh": session.refresh },
    args: { session: label, subject, refreshed: `${label} ${generation}`, since, firstSent: more.firstSent },
    note: ({ refresh_token: successor }) => ({
      successor: typeof successor === "string" ? successor.slice(-24) : undefined,
    }),
  });
}

export type Refreshed = "refreshed" | "ended" | "unclear";

/**
 * Refreshes as a client should: it asks again for an answer that was lost, with the same token, for as long as the gate
 * promises the same successor. `unclear` is a session whose client must sign in anew.
 */
export async function refresh(world: World, client: string, session: Session, own: Dice): Promise<Refreshed> {
  const firstSent = monotonicMs();
  const manner = own.pick(["plain", "plain", "parallel", "lost", "lost"]);
  const processes = Array.from({ length: 40 }, () => own.between(0, applications.length - 1));
  const leaveAfterMs = manner === "lost" ? own.between(1, 60) : undefined;
  const width = manner === "parallel" ? own.between(2, 3) : 1;
  let lost = false;
  for (const [attempt, process] of processes.entries()) {
    // The last one is answered within the time of the overlap, even if that takes a while.
    if (monotonicMs() - firstSent > overlapMs - 3000) return "unclear";
    const answers = await Promise.all(
      Array.from({ length: width }, async (_, index) =>
        presentRefresh(world, client, session, (process + index) % applications.length, {
          firstSent,
          leaveAfterMs: attempt === 0 ? leaveAfterMs : undefined,
        }),
      ),
    );
    if (answers.some(({ operation }) => operation.status === 0)) lost = true;
    const found = answers.find(({ operation }) => operation.status === 200);
    if (found !== undefined) {
      // A request whose answer was lost may still be on its way; the successor is not used before it has got there.
      if (lost) await sleep(1000);
      const { access_token: access, refresh_token: successor } = found.body as Record<string, string>;
      Object.assign(session, { access, refresh: successor, since: found.operation.end });
      session.expires = expiryOf(found.body, found.operation.end);
      session.generation += 1;
      return "refreshed";
    }
    if (answers.some(({ operation }) => operation.status === 400)) return "ended";
    await sleep(200);
  }
  return "unclear";
}

/** Presents the refresh token of a session that is over. */
export async function refreshOnce(world: World, client: string, session: Session, process: number): Promise<Answered> {
  return presentRefresh(world, client, session, process, { firstSent: monotonicMs() });
}
