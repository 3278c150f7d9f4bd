import type { LivePosition, LiveSubject, LiveSubjects, SubjectKeys } from "../ports/sessions.js";
import { integerIn, readInteger, readList, readListOf, readText, unreadable } from "./replies.js";
import type { Script } from "./scripts/lua.js";
import { listedSessionScript, readLiveScript } from "./scripts/live-sessions.js";

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
 * Lists subjects by their live sessions. A subject is listed at the session that ends first of those that were there when the
 * list began, and so once. If this session is refreshed or ends, another one takes its place, which ends later: the subject is
 * not missed, but may be listed again. A session that begins meanwhile may end earlier than those that the list reads next, so
 * that it does not count. One server answers in two round trips; a Cluster is asked hash tag by hash tag.
 */
export async function listLiveSubjects(
  options: LiveSessionsOptions,
  position: LivePosition | undefined,
  count: number,
): Promise<LiveSubjects> {
  const { live, isCluster } = options;
  const sessions: LiveSession[] = [];
  let startedAt = position?.startedAt;
  let key = position?.key ?? 0;
  let resumed = position;
  while (key < live.length && sessions.length < count) {
    const keys = isCluster ? live.slice(key, key + 1) : live.slice(key);
    const part = await readSessions(options, keys, key, resumed, count - sessions.length);
    startedAt ??= part.now;
    sessions.push(...part.sessions);
    key += keys.length;
    resumed = undefined;
  }
  const began = startedAt ?? 0;
  const subjects = await readSubjects(options, sessions, began);
  return { subjects, next: sessions.length < count ? undefined : positionBehind(sessions, began) };
}

async function readSessions(
  { run }: LiveSessionsOptions,
  keys: readonly string[],
  first: number,
  resumed: LivePosition | undefined,
  count: number,
): Promise<{ readonly now: number; readonly sessions: readonly LiveSession[] }> {
  const [now, found] = readListOf(await run(readLiveScript, keys, [resumed?.endsAt ?? 0, resumed?.id ?? "", count]), 2);
  const reply = readList(found);
  const sessions: LiveSession[] = [];
  for (let at = 0; at < reply.length; at += 3) {
    const member = readText(reply[at + 1]);
    const space = member.indexOf(" ");
    const endsAt = integerIn(reply[at + 2], 0);
    if (space < 1 || endsAt === undefined) throw unreadable();
    const key = first + readInteger(reply[at], 1) - 1;
    sessions.push({ key, id: member.slice(0, space), name: member.slice(space + 1), endsAt });
  }
  return { now: readInteger(now), sessions };
}

async function readSubjects(
  { run, keysOf }: LiveSessionsOptions,
  sessions: readonly LiveSession[],
  startedAt: number,
): Promise<LiveSubject[]> {
  const names = [...new Set(sessions.map(({ name }) => name))];
  const found = await Promise.all(
    names.map(async (name) => {
      const { index, records } = keysOf(name);
      const [listed, count] = readListOf(await run(listedSessionScript, [index, records], [startedAt]), 2);
      return { name, listed: readText(listed), sessions: readInteger(count) };
    }),
  );
  return found
    .filter(({ name, listed }) => sessions.some((one) => one.name === name && one.id === listed))
    .map(({ name, sessions: count }) => ({ name, sessions: count }));
}

/** The position behind these sessions, which are not empty. */
function positionBehind(sessions: readonly LiveSession[], startedAt: number): LivePosition {
  const { key, endsAt, id } = sessions.at(-1) as LiveSession;
  return { key, endsAt, id, startedAt };
}
