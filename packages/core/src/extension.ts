import type { Auth } from "./auth/claims.js";
import { identifyingClaim } from "./auth/identifying-claim.js";
import type { ApplyProblemTypes } from "./http/problem-types.js";
import { unavailable } from "./http/verdict.js";
import type { Denied } from "./http/verdict.js";
import { optionError } from "./lib/validate.js";
import type { Keyspace } from "./store/keyspace.js";
import type { FurtherConnection, OpenFurther } from "./store/redis/further.js";
import type { Logger } from "./telemetry/logger.js";

/** The parts of a gate for a package that extends it: connections to Redis, and neither addresses nor passwords. */
export interface GateExtension {
  readonly logger: Logger;
  /** The Redis of the gate; undefined for stores in process. */
  readonly redis: ExtensionRedis | undefined;
  /** The organisation of a user, by the claim `revocation.orgClaim`. */
  organisationOf(auth: Auth): string | undefined;
  /** Refuses a connection while the process ends: as a request, it is counted, logged and published. The cause is a fixed phrase. */
  refuseConnection(cause: string): Denied;
  /** Counts, logs and publishes that a connection is refused which `gate.verify()` has counted as allowed. */
  noteRefused(denied: Denied): void;
  /** Calls the listener when the gate closes, after its open connections have ended. */
  onClose(listener: () => Promise<void> | void): void;
}

/** Further connections to the Redis of a gate, and the names of an extension in it. */
export interface ExtensionRedis {
  /** Opens one more connection. `"waiting"` is for commands that block, and for subscriptions. */
  open(kind: "commands" | "waiting"): FurtherConnection;
  /** A key of the extension. It belongs to the service of the gate. */
  key(name: string): string;
  /** A channel of the extension. It belongs to the service of the gate. */
  channel(): string;
}

/** The parts of a gate that its extension is made of. */
export interface ExtensionParts {
  readonly logger: Logger;
  readonly keyspace: Keyspace;
  readonly openFurther: OpenFurther | undefined;
  readonly orgClaim: string | undefined;
  readonly problemTypes: ApplyProblemTypes;
  /** Counts, logs and publishes a refusal. `wasAllowed`: the request was counted as allowed before. */
  readonly note: (denied: Denied, wasAllowed: boolean) => void;
  /** Called when the extension opens a connection. */
  readonly onUse: () => void;
}

const extensions = new WeakMap<object, GateExtension>();

/** Makes the extension of a gate. Returns a function that closes what its users have opened. */
export function offerExtension(gate: object, parts: ExtensionParts): () => Promise<void> {
  const { logger, keyspace, openFurther, orgClaim, problemTypes, note, onUse } = parts;
  const listeners: (() => Promise<void> | void)[] = [];
  extensions.set(gate, {
    logger,
    redis:
      openFurther === undefined
        ? undefined
        : {
            open(kind) {
              onUse();
              return openFurther.open(kind);
            },
            key: (name) => openFurther.keyPrefix + keyspace.coordination("socket.io", name),
            channel: () => openFurther.keyPrefix + keyspace.channel("socket.io"),
          },
    organisationOf(auth) {
      const org = orgClaim === undefined ? undefined : identifyingClaim(auth.claims, orgClaim);
      return typeof org === "string" ? org : undefined;
    },
    refuseConnection(cause) {
      const denied = problemTypes(unavailable(cause, "connection_capacity"));
      note(denied, false);
      return denied;
    },
    noteRefused: (denied) => note(denied, true),
    onClose: (listener) => void listeners.push(listener),
  });
  return async () => {
    await Promise.all(listeners.splice(0).map(async (listener) => listener()));
  };
}

/** The extension of a gate. Throws a TypeError for another value. */
export function extensionOf(gate: object): GateExtension {
  const extension = extensions.get(gate);
  if (extension === undefined)
    throw optionError("gate", "must be the gate that portcullis() has returned, not a copy of it");
  return extension;
}
