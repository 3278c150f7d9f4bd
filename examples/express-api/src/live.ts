import type { ServerResponse } from "node:http";

/** The user of a stream, as far as it matters here. */
interface User {
  readonly principal: string;
  readonly token: string;
  /** Unix seconds. */
  readonly expiresAt: number;
}

/** The parts of the gate that a stream needs. */
interface Gate<Auth> {
  verify(token: string): Promise<{ readonly allowed: boolean }>;
  readonly sessions: {
    onRevoked(
      listener: (ended: { readonly principal?: string | undefined; concerns(auth: Auth): boolean }) => void,
      onMissed: () => void,
    ): () => void;
  };
}

/** Proxies close connections on which nothing is said. */
const heartbeatMs = 20_000;

/** The longest time that a timer of Node takes. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Tells a browser about its session, as server-sent events: `ended` when it ends, whoever ended it, and `changed` when another
 * session of the same user does. The stream ends with its access token, too: the browser then asks again, with a new one.
 */
export function streamEndings<Auth extends User>(
  res: ServerResponse,
  auth: Auth,
  gate: Gate<Auth>,
  onResponseEnd: (res: ServerResponse, listener: () => void) => void,
): void {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" });
  // Frameworks answer HEAD by the handler of GET, and a stream would never end it.
  if (res.req.method === "HEAD") {
    res.end();
    return;
  }
  res.write("retry: 2000\n\nevent: open\ndata: {}\n\n");
  const heartbeat = setInterval(() => res.write(": still here\n\n"), heartbeatMs);
  const lifeMs = Math.min(Math.max(0, auth.expiresAt * 1000 - Date.now()), longestTimerMs);
  const expiry = setTimeout(() => end(""), lifeMs);

  function stop(): void {
    clearInterval(heartbeat);
    clearTimeout(expiry);
    stopListening();
  }

  function end(lastEvent: string): void {
    stop();
    res.end(lastEvent);
  }

  /** Messages may have been lost, and the end of this session with them. Without an answer nobody knows. */
  async function verifyAgain(): Promise<void> {
    const verdict = await gate.verify(auth.token).catch(() => undefined);
    if (verdict?.allowed !== true) end("");
  }

  const stopListening = gate.sessions.onRevoked(
    (ended) => {
      if (ended.concerns(auth)) end("event: ended\ndata: {}\n\n");
      else if (ended.principal === auth.principal) res.write("event: changed\ndata: {}\n\n");
    },
    () => void verifyAgain(),
  );
  // Its own "close" is not enough: a response that waits behind another on its connection does not always have one.
  onResponseEnd(res, stop);
  // A client that goes away is no error.
  res.on("error", stop);
}
