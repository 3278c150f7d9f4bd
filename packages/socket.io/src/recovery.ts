import { createHash, randomBytes } from "node:crypto";
import type { Auth } from "@portcullis/core";
import type { Socket } from "socket.io";
import type { Adapter, Session } from "socket.io-adapter";

/** A state that Socket.IO has found for a client, before anybody has checked who the client is. */
interface FoundState {
  readonly owner: unknown;
  readonly rooms: readonly string[];
  readonly data: Record<string, unknown>;
  readonly missedPackets: readonly unknown[][];
}

const found: unique symbol = Symbol("portcullis.found");
/** The member of the data of a kept state that names its owner. */
const ownerMember = "portcullis:owner";
/** Rooms that follow the token of a socket. */
const ownRooms = /^(?:user|org):/;

/** A digest of the user, the session and the organisation of a token. Only a token with the same ones gets the state back. */
export function ownerOf({ principal, sessionId, token }: Auth, org: string | undefined): string {
  const parts = [principal === "" ? { token } : principal, sessionId ?? null, org ?? null];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

/**
 * Makes connection state recovery safe. Socket.IO gives a client its rooms and the missed packets for its `pid` alone, before
 * any middleware has run. Here the state is held back until the token of the client is verified, and until it is clear that
 * the state was that of the same user and session. States of sockets that nobody has verified are not kept.
 */
export function protectRecovery(adapter: Adapter, ownerOfSocket: (id: string) => string | undefined): Adapter {
  const persist = adapter.persistSession.bind(adapter);
  const restore = adapter.restoreSession.bind(adapter);
  adapter.persistSession = (session) => {
    const owner = ownerOfSocket(session.sid);
    if (owner === undefined) return;
    persist({ ...session, data: { ...(session.data as object), [ownerMember]: owner } });
  };
  adapter.restoreSession = async (pid, offset) => {
    if (!/^[\w-]{1,64}$/.test(pid) || !/^[\w.-]{1,64}$/.test(offset)) return nothing;
    const session = (await restore(pid, offset)) as Session | null | undefined;
    if (session === null || session === undefined) return nothing;
    // The adapter in process would give the same state to a second client.
    (adapter as { readonly sessions?: Map<string, unknown> }).sessions?.delete(pid);
    const data = { ...(session.data as Record<string, unknown>) };
    const state: FoundState = {
      owner: data[ownerMember],
      rooms: session.rooms.filter((room) => !ownRooms.test(room)),
      data,
      missedPackets: session.missedPackets,
    };
    Reflect.deleteProperty(data, ownerMember);
    return { ...session, rooms: [], missedPackets: [], data: { [found]: state } };
  };
  return adapter;
}

/** Socket.IO takes every false value for "nothing found", also where the types do not say so. */
const nothing = undefined as unknown as Session;

/** Members of a socket that only Socket.IO writes. */
interface Inner {
  id: string;
  pid: string | undefined;
  recovered: boolean;
  data: Record<string | symbol, unknown>;
  packet(packet: { type: number; data: unknown[] }): void;
  readonly nsp: { readonly _preConnectSockets?: Map<string, unknown> };
}

const eventType = 2;

/** Gives a verified socket the state that was found for it, or makes it a new socket if that was the state of somebody else. */
export async function settleRecovery(socket: Socket, owner: string): Promise<void> {
  const inner = socket as unknown as Inner;
  const state = inner.data[found] as FoundState | undefined;
  if (state === undefined) return;
  if (state.owner !== owner) {
    inner.nsp._preConnectSockets?.delete(inner.id);
    Object.assign(inner, { id: randomId(), pid: randomId(), recovered: false, data: {} });
    inner.nsp._preConnectSockets?.set(inner.id, socket);
    return;
  }
  inner.data = state.data;
  if (state.rooms.length > 0) await socket.join([...state.rooms]);
  // The client keeps them until it is connected.
  for (const data of state.missedPackets) inner.packet({ type: eventType, data });
}

/** Like the identifiers of Socket.IO. */
function randomId(): string {
  return randomBytes(15).toString("base64url");
}
