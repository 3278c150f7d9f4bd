import { expect } from "chai";
import type { StartApp } from "../../support/every-gate.js";
import { send } from "../../support/http.js";
import { origin } from "../../support/origin.js";

/** A field value; a number is a date, so many seconds from now; a list is several lines. */
type Value = string | number | readonly string[];

/** One request of a case, with what its handler says if it is asked, and what must come of it. */
export interface Step {
  readonly method?: string;
  /** What follows the path of the case. */
  readonly at?: string;
  readonly request?: Readonly<Record<string, Value>>;
  readonly status?: number;
  readonly response?: Readonly<Record<string, Value>>;
  /** Interim responses that the handler sends before. */
  readonly interim?: number;
  /** Seconds that pass before it. */
  readonly after?: number;
  readonly expect: "kept" | "made";
  readonly answers?: number;
  readonly has?: Readonly<Record<string, string | RegExp>>;
  readonly lacks?: readonly string[];
}

/** A behaviour by the name that http-tests/cache-tests has for it; the requests are our own. */
export interface Case {
  readonly id: string;
  readonly steps: readonly Step[];
}

/** A response, and what becomes of the same request a little later. */
export function then(
  id: string,
  response: Step["response"],
  what: Step["expect"],
  more: Partial<Step> = {},
  first: Partial<Step> = {},
): Case {
  return {
    id,
    steps: [
      { response: response ?? {}, expect: "made", ...first },
      { response: response ?? {}, expect: what, after: 3, ...more },
    ],
  };
}

/** Runs cases against one application, with a clock that is passed in. */
export async function runCases(start: StartApp, cases: readonly Case[]): Promise<void> {
  const { now } = Date;
  let shiftMs = 0;
  let step: Step | undefined;
  let calls = 0;
  Date.now = () => now() + shiftMs;
  try {
    const { url } = await start(
      { auth: undefined },
      {
        routes: {},
        use: (gate) => [
          gate.cacheResponse(),
          origin(({ response }) => {
            calls += 1;
            if (step?.interim === 102) response.writeProcessing();
            if (step?.interim === 103)
              response.writeEarlyHints({ link: "</a.css>; rel=preload; as=style", "x-interim": "1" });
            const headers = { "content-type": "text/plain", ...valuesOf(step?.response ?? {}) };
            return { status: step?.status ?? 200, headers, body: `made ${calls}` };
          }),
        ],
      },
    );
    for (const { id, steps } of cases) {
      const made = new Set<string>();
      for (const [index, next] of steps.entries()) {
        step = next;
        shiftMs += (next.after ?? 0) * 1000;
        const before = calls;
        const answer = await send(`${url}/${id}${next.at ?? ""}`, {
          method: next.method ?? "GET",
          headers: valuesOf(next.request ?? {}) as Record<string, string>,
        });
        const what = `${id}, request ${index + 1}`;
        expect(calls === before ? "kept" : "made", what).to.equal(next.expect);
        expect(answer.status, what).to.equal(next.answers ?? steps[index]?.status ?? 200);
        if (next.expect === "made") made.add(answer.text);
        else if (answer.status !== 304 && answer.status !== 504 && next.method !== "HEAD")
          expect([...made], what).to.include(answer.text);
        for (const [name, value] of Object.entries(next.has ?? {})) {
          if (typeof value === "string") expect(answer.headers[name], `${what}: ${name}`).to.equal(value);
          else expect(answer.headers[name], `${what}: ${name}`).to.match(value);
        }
        for (const name of next.lacks ?? []) expect(answer.headers, what).not.to.have.property(name);
      }
    }
  } finally {
    Date.now = now;
  }
}

function valuesOf(fields: Readonly<Record<string, Value>>): Record<string, string | readonly string[]> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === "number" ? new Date(Date.now() + value * 1000).toUTCString() : value,
    ]),
  );
}
