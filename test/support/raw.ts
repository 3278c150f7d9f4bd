import { connect } from "node:net";

/** Sends a request as these bytes (latin1), which no HTTP client would send, and reads the answer until the server ends it. */
export async function exchangeRaw(url: string, text: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write(Buffer.from(text, "latin1"));
  let answer = "";
  for await (const chunk of socket) answer += (chunk as Buffer).toString("latin1");
  return answer;
}

/** The status of the first answer in raw bytes. */
export function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
}
