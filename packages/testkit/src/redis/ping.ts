import { connect } from "node:net";

/**
 * Whether the Redis of process `pid` answers PING on a loopback port. The process id is compared because another server
 * may have taken the port first. A server that asks for a password counts as answering.
 */
export function answersPing(port: number, pid: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    let reply = "";
    function settle(ready: boolean): void {
      socket.destroy();
      resolve(ready);
    }
    socket.setTimeout(500, () => settle(false));
    socket.on("error", () => settle(false));
    socket.on("close", () => settle(false));
    socket.on("connect", () => socket.write("PING\r\nINFO server\r\n"));
    socket.on("data", (chunk) => {
      reply += chunk.toString("latin1");
      const answered = /\r\nprocess_id:(\d+)\r\n/.exec(reply);
      if (reply.startsWith("-")) settle(reply.startsWith("-NOAUTH"));
      else if (answered !== null) settle(reply.startsWith("+PONG") && Number(answered[1]) === pid);
    });
  });
}
