import type { LivePosition, LiveSubject, LiveSubjects, SubjectKeys } from "../ports/sessions.js";
import { integerIn, readInteger, readList, readListOf, readText, unreadable } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { lastSessionScript, readLiveScript } from "./scripts/live-sessions.js";

export type RunScript = (
  script: Script,
  keys: readonly string[],
  args: readonly (string | number)[],
) => Promise<unknown>;

export interface LiveSessionsOptions {
  readonly run: RunScript;
  readonly isCluster: boolean;
  /** The keys of live sessions, one for each hash tag. */
  readonly live: readonly string[];
  /** Makes the keys of a subject from its name. */
  readonly keysOf: (name: string) => SubjectKeys;
}

interface LiveSession {
  readonly key: number;
  readonly id: string;
  readonly name: string;
  readonly endsAt: number;
}

/**
 * Lists subjects by their live sessions. A subject is listed at that of its sessions which ends last, and so once. A session
 * that is refreshed meanwhile ends later, so that its subject is not missed, but may be listed again. One server answers in
 * two round trips; a Cluster is asked hash tag by hash tag.
 */
export async function listLiveSubjects(
  options: LiveSessionsOptions,
  position: LivePosition | undefined,
  count: number,
): Promise<LiveSubjects> {
  const { live, isCluster } = options;
  const sessions: LiveSession[] = [];
  let key = position?.key ?? 0;
  let resumed = position;
  while (key < live.length && sessions.length < count) {
    const keys = isCluster ? live.slice(key, key + 1) : live.slice(key);
    sessions.push(...(await readSessions(options, keys, key, resumed, count - sessions.length)));
    key += keys.length;
    resumed = undefined;
  }
  const subjects = await readSubjects(options, sessions);
  return { subjects, next: sessions.length < count ? undefined : positionBehind(sessions) };
}

async function readSessions(
  { run }: LiveSessionsOptions,
  keys: readonly string[],
  first: number,
  resumed: LivePosition | undefined,
  count: number,
): Promise<LiveSession[]> {
  const reply = readList(await run(readLiveScript, keys, [resumed?.endsAt ?? 0, resumed?.id ?? "", count]));
  const sessions: LiveSession[] = [];
  for (let at = 0; at < reply.length; at += 3) {
    const member = readText(reply[at + 1]);
    const space = member.indexOf(" ");
    const endsAt = integerIn(reply[at + 2], 0);
    if (space < 1 || endsAt === undefined) throw unreadable();
    const key = first + readInteger(reply[at], 1) - 1;
    sessions.push({ key, id: member.slice(0, space), name: member.slice(space + 1), endsAt });
  }
  return sessions;
}

async function readSubjects(
  { run, keysOf }: LiveSessionsOptions,
  sessions: readonly LiveSession[],
): Promise<LiveSubject[]> {
  const names = [...new Set(sessions.map(({ name }) => name))];
  const found = await Promise.all(
    names.map(async (name) => {
      const [last, count] = readListOf(await run(lastSessionScript, [keysOf(name).index], []), 2);
      return { name, last: readText(last), sessions: readInteger(count) };
    }),
  );
  return found
    .filter(({ name, last }) => sessions.some((one) => one.name === name && one.id === last))
    .map(({ name, sessions: count }) => ({ name, sessions: count }));
}

/** The position behind these sessions, which are not empty. */
function positionBehind(sessions: readonly LiveSession[]): LivePosition {
  const { key, endsAt, id } = sessions.at(-1) as LiveSession;
  return { key, endsAt, id };
}
