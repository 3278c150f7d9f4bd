import { setTimeout as sleep } from "node:timers/promises";
import type { Dice } from "../random.js";
import { applications } from "../settings.js";
import type { Session } from "./session.js";
import { readOwn, refresh, refreshOnce, signIn, tokenFacts } from "./session.js";
import { addressOf, ask } from "./world.js";
import type { Client, World } from "./world.js";

const processes = applications.length;
/** A client keeps its address for so many sign-ins: its failures, if there are any, are counted together. */
const signInsPerAddress = 15;

/** A client that keeps what a sign-in gave it. */
interface Signing {
  readonly session: () => Session | undefined;
  forget(): void;
  signIn(world: World, own: Dice): Promise<Session | undefined>;
}

function createSigning(name: string, number: number): Signing {
  let session: Session | undefined;
  let signIns = 0;
  return {
    session: () => session,
    forget: () => (session = undefined),
    async signIn(world, own) {
      const from = addressOf(number * 1000 + Math.floor(signIns / signInsPerAddress));
      signIns += 1;
      const label = `${world.part} ${name}#${signIns}`;
      const options = { client: name, subject: name, from, label };
      session = await signIn(world, own.between(0, processes - 1), options);
      return session;
    },
  };
}

/** A user who keeps to the protocol and never signs out: whose session must live, whatever fails. */
export interface Keeper extends Client {
  /** Reads and refreshes once; done when everything is well again. */
  look(world: World, own: Dice): Promise<void>;
}

export function createKeeper(world: () => World, number: number): Keeper {
  const name = `keeper-${number}`;
  const signing = createSigning(name, number);

  async function renew(session: Session, own: Dice): Promise<void> {
    if ((await refresh(world(), name, session, own)) !== "refreshed") signing.forget();
  }

  return {
    name,
    pauseMs: 250,
    async step(own) {
      const session = signing.session() ?? (await signing.signIn(world(), own));
      if (session === undefined) return;
      if (own.chance(0.25)) await renew(session, own);
      else await readOwn(world(), name, session, own);
    },
    async look(now, own) {
      const session = signing.session();
      if (session === undefined) return;
      await readOwn(now, name, session, own);
      await renew(session, own);
    },
  };
}

/** A user who signs in and out all the time, always with the right password. */
export function createSigner(world: () => World, number: number): Client {
  const name = `signer-${number}`;
  const signing = createSigning(name, 100 + number);
  return {
    name,
    pauseMs: 150,
    async step(own) {
      const session = await signing.signIn(world(), own);
      if (session !== undefined && own.chance(0.3)) await readOwn(world(), name, session, own);
    },
  };
}

/** Sessions and tokens that were ended, so that somebody may look later whether they still are. */
export class Graveyard {
  readonly #sessions: Session[] = [];

  add(session: Session): void {
    this.#sessions.push({ ...session });
  }

  /** Tries some of them at every process: none may pass. */
  async visit(world: World, own: Dice): Promise<void> {
    const chosen =
      this.#sessions.length <= 40 ? this.#sessions : Array.from({ length: 40 }, () => own.pick(this.#sessions));
    for (const session of chosen) {
      await Promise.all(
        applications.map((_, process) =>
          ask(world, "graveyard", {
            ...{ name: "read", path: "/me", process, token: session.access },
            args: tokenFacts(session),
          }),
        ),
      );
    }
  }
}

const endings = { logout: "/logout", everywhere: "/everywhere", revoke: "/revoke" } as const;

/** A user who signs out in some way, and tries the old tokens afterwards. */
export function createLeaver(world: () => World, number: number, graveyard: Graveyard): Client {
  const name = `leaver-${number}`;
  const signing = createSigning(name, 200 + number);

  async function end(session: Session, own: Dice): Promise<boolean> {
    const ending = own.pick(["logout", "everywhere", "revoke"] as const);
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const { operation } = await ask(world(), name, {
        ...{ name: ending, method: "POST", path: endings[ending], process: own.between(0, processes - 1) },
        token: session.access,
        args: { ...tokenFacts(session), replicated: ending === "revoke" && world().replicas > 0 },
      });
      if (operation.status === 204) return true;
      // Refused as the session of an ending whose confirmation was lost would be: then nothing was confirmed.
      if (operation.status === 401) return false;
      await sleep(250);
    }
    return false;
  }

  return {
    name,
    pauseMs: 400,
    async step(own) {
      const others = own.chance(0.3) ? await signing.signIn(world(), own) : undefined;
      const session = await signing.signIn(world(), own);
      if (session === undefined) return;
      const old = { ...session };
      await readOwn(world(), name, session, own);
      if (own.chance(0.3)) await refresh(world(), name, session, own);
      const ended = await end(session, own);
      if (!ended) return;
      for (const one of [old, session, ...(others === undefined ? [] : [others])]) {
        graveyard.add(one);
        for (let round = own.between(1, 3); round > 0; round -= 1) {
          await readOwn(world(), name, one, own);
          await sleep(own.between(0, 300));
        }
      }
      await refreshOnce(world(), name, session, own.between(0, processes - 1));
    },
  };
}

/** Somebody who guesses passwords, of an account that is new each time. */
export function createGuesser(world: () => World): Client {
  let round = 0;
  return {
    name: "guesser",
    pauseMs: 1500,
    async step(own) {
      round += 1;
      const subject = `victim-${world().part}-${round}`;
      const from = addressOf(500_000 + round);
      const width = own.between(8, 14);
      const guess = { client: "guesser", subject, from, label: subject, password: "wrong" };
      await Promise.all(Array.from({ length: width }, () => signIn(world(), own.between(0, processes - 1), guess)));
    },
  };
}
