import type { ServerResponse } from "node:http";

/** What of the gate this needs. */
interface Sessions<Auth> {
  onRevoked(
    listener: (ended: { readonly principal?: string | undefined; concerns(auth: Auth): boolean }) => void,
  ): () => void;
}

/** Proxies close connections on which nothing is said. */
const heartbeatMs = 20_000;

/**
 * Tells a browser about its session, as server-sent events: `ended` when it ends, whoever ended it, and `changed` when another
 * session of the same user does.
 */
export function streamEndings<Auth extends { readonly principal: string }>(
  res: ServerResponse,
  auth: Auth,
  sessions: Sessions<Auth>,
): void {
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" });
  res.write("retry: 2000\n\nevent: open\ndata: {}\n\n");
  const heartbeat = setInterval(() => res.write(": still here\n\n"), heartbeatMs);

  function stop(): void {
    clearInterval(heartbeat);
    stopListening();
  }

  const stopListening = sessions.onRevoked((ended) => {
    if (ended.concerns(auth)) {
      stop();
      res.end("event: ended\ndata: {}\n\n");
    } else if (ended.principal === auth.principal) res.write("event: changed\ndata: {}\n\n");
  });
  // A client that goes away is no error.
  res.on("close", stop).on("error", stop);
}
