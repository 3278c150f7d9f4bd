import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeJwt, SignJWT } from "jose";
import { monotonicMs } from "../history.js";
import type { Dice } from "../random.js";
import { applications, secretOf, tokenAudience, tokenIssuer } from "../settings.js";
import { withClient } from "../topologies/topology.js";
import type { Session } from "./session.js";
import { signIn, tokenFacts } from "./session.js";
import type { StreamClient } from "./stream.js";
import { openStream } from "./stream.js";
import { addressOf, ask, nextOperation } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
/** An ended session's streams are watched for so long. */
const watchMs = 12_000;
const paths = { logout: "/logout", everywhere: "/everywhere", revoke: "/revoke" } as const;

/** A token of another service of the same issuer, whose end is near: it has no session. */
async function mint({ seed, part }: World, subject: string, label: string, lifeSeconds: number): Promise<Session> {
  const iat = Math.floor(Date.now() / 1000);
  const exp = iat + lifeSeconds;
  const claims = { iss: tokenIssuer, aud: tokenAudience, sub: subject, jti: randomUUID(), iat, exp };
  const access = await new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256", typ: "at+jwt" })
    .sign(Buffer.from(secretOf(seed)));
  const now = monotonicMs();
  const expires = now + exp * 1000 - Date.now();
  return { label: `${part} ${label}`, subject, access, refresh: "", generation: 0, since: now, expires };
}

/** Writes `auth:revoked:<jti>` as a service of another vendor does, which tells nobody. */
async function writeRevoked(world: World, client: string, session: Session): Promise<boolean> {
  const start = monotonicMs();
  const { jti = "", exp = 0 } = decodeJwt(session.access);
  const seconds = Math.max(1, exp - Math.floor(Date.now() / 1000)) + 300;
  let [done, replicated] = [false, false];
  for (const server of await world.masters().catch(() => [])) {
    try {
      await withClient(server, async (redis) => {
        await redis.set(`auth:revoked:${jti}`, "revoked", "EX", seconds);
        done = true;
        if (world.replicas > 0) replicated = (await redis.wait(world.replicas, 1000)) >= world.replicas;
      });
    } catch {
      // Another node of the Cluster has the slot, or the server has just failed.
    }
    if (done) break;
  }
  world.recorder.note({
    ...{ type: "operation", id: nextOperation(), client, name: "revoked-key", process: -1, life: 0 },
    ...{ start, end: monotonicMs(), status: done ? 204 : 503, left: false, answer: {} },
    args: { ...tokenFacts(session), replicated },
  });
  return done;
}

/** A user who has streams at several processes when the session ends at one of them, or elsewhere, or the token expires. */
export function createListener(world: () => World, number: number): Client {
  const name = `listener-${number}`;
  let rounds = 0;

  async function end(session: Session, ending: keyof typeof paths | "key", own: Dice): Promise<boolean> {
    for (let attempt = 0; attempt < 8; attempt += 1) {
      if (ending === "key") {
        if (await writeRevoked(world(), name, session)) return true;
      } else {
        const { operation } = await ask(world(), name, {
          ...{ name: ending, method: "POST", path: paths[ending], process: own.between(0, processes - 1) },
          token: session.access,
          args: { ...tokenFacts(session), replicated: ending === "revoke" && world().replicas > 0 },
        });
        if (operation.status === 204) return true;
        if (operation.status === 401) return false;
      }
      await sleep(250);
    }
    return false;
  }

  async function openSome(session: Session, first: number, count: number): Promise<StreamClient[]> {
    const topics = [`user:${session.subject}`, "news"];
    const opened = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        openStream(world(), { client: `${name}.${index}`, session, process: first + index, topics }),
      ),
    );
    await Promise.all(opened.map(({ answered }) => answered));
    return opened;
  }

  return {
    name,
    pauseMs: 300,
    async step(own) {
      rounds += 1;
      const ending = own.pick(["logout", "everywhere", "revoke", "key", "key", "expiry", "nothing"] as const);
      const label = `${name}#${rounds}`;
      const session =
        ending === "expiry"
          ? // Of a subject of its own: "log out everywhere" also ends foreign tokens of the seconds after it.
            await mint(world(), `${name}-${rounds}`, label, own.between(2, 6))
          : await signIn(world(), own.between(0, processes - 1), {
              ...{ client: name, subject: name, label: `${world().part} ${label}` },
              from: addressOf(400_000 + number * 1000 + Math.floor(rounds / 15)),
            });
      if (session === undefined) return;
      const streams = await openSome(session, own.between(0, processes - 1), own.between(1, processes));
      await sleep(own.between(100, 2000));
      if (ending !== "expiry" && ending !== "nothing") await end(session, ending, own);
      const waitMs = ending === "nothing" ? own.between(500, 3000) : watchMs;
      // A silent process may have been stopped: the stream stays, so that its end is seen.
      await Promise.race([Promise.all(streams.map(({ over }) => over)), sleep(waitMs)]);
      for (const stream of streams) stream.leave();
      await Promise.all(streams.map(({ over }) => over));
      if (own.chance(0.5)) return;
      // EventSource would connect again.
      for (const stream of await openSome(session, own.between(0, processes - 1), 1)) await stream.follow(1500);
    },
  };
}
