const deadlineMs = 5000;
const maxBytes = 512 * 1024;

/** What went wrong with a fetch, in words that may be logged: no address, no content. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
}

/** Fetches a JSON document: no redirects, at most 5 s and 512 KiB. Errors name no address and quote no content. */
export async function fetchJson(url: string, closing: AbortSignal): Promise<unknown> {
  const signal = AbortSignal.any([closing, AbortSignal.timeout(deadlineMs)]);
  const response = await fetch(url, { redirect: "error", signal, headers: { accept: "application/json" } });
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    throw new FetchFailure(`the answer has status ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new FetchFailure(`the answer is longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8")) as unknown;
  } catch {
    throw new FetchFailure("the answer is not JSON");
  }
}
