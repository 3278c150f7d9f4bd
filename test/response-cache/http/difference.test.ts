import { expect } from "chai";
import fc from "fast-check";
import type { ByteAnswer } from "../../support/http.js";
import { sendForBytes } from "../../support/http.js";
import { describeOnEveryGate } from "../../support/every-gate.js";
import type { Files } from "../difference/applications.js";
import { makeFiles, stack } from "../difference/applications.js";
import { differencesOf, isFromStore } from "../difference/comparison.js";
import type { Asked, Scenario } from "../difference/scenarios.js";
import { scenario } from "../difference/scenarios.js";

const runs = 40;
const seed = 16;

describeOnEveryGate("an application behind the response cache", (start) => {
  let files: Files;
  before(async () => {
    files = await makeFiles();
  });
  after(() => files.remove());

  it("answers as it does without: status, body and fields of the representation, on a miss and on a hit", async function () {
    this.timeout(60_000);
    const scenarios = new Map<string, Scenario>();
    const scenarioAt = (url: string): Scenario => scenarios.get(url.split(/[/?]/)[1] ?? "") as Scenario;
    const serve = (cached: boolean) =>
      start({ auth: undefined }, { routes: {}, use: (gate) => stack(gate, scenarioAt, files, cached) });
    const [plain, cached] = [await serve(false), await serve(true)];
    let hits = 0;
    const onKoa = this.test?.titlePath().join(" ").includes("Koa") ?? false;

    async function check(one: Scenario): Promise<void> {
      const path = `/${scenarios.size}`;
      scenarios.set(path.slice(1), one);
      const expected = await Promise.all(one.requests.map((asked) => askPlain(asked)));
      const differences: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        const compare = async (asked: Asked, index: number): Promise<void> => {
          const known = expected[index] as (typeof expected)[number];
          const answer = await ask(cached.url, asked, known.sent);
          if (isFromStore({ cached: answer })) hits += 1;
          for (const difference of differencesOf({ onKoa, scenario: one, asked, cached: answer, ...known }))
            differences.push(
              `${asked.method} ${asked.query} ${JSON.stringify(known.sent)}, time ${round + 1}: ${difference} (${String(answer.headers["cache-status"])})`,
            );
        };
        if (round === 0 && one.together) await Promise.all(one.requests.map(compare));
        else for (const [index, asked] of one.requests.entries()) await compare(asked, index);
      }
      expect(differences).to.deep.equal([]);

      async function askPlain(asked: Asked) {
        const whole = await ask(plain.url, asked, selecting(asked));
        const sent = { ...selecting(asked), ...conditionOf(asked, whole) };
        const answer = await ask(plain.url, asked, sent);
        const asGet = asked.method === "GET" ? answer : await ask(plain.url, { ...asked, method: "GET" }, sent);
        return { whole, sent, plain: answer, asGet };
      }

      function ask(url: string, { method, query }: Asked, headers: Record<string, string>): Promise<ByteAnswer> {
        return sendForBytes(`${url}${path}${query}`, { method, headers: { host: "api.example.com", ...headers } });
      }
    }

    await fc.assert(fc.asyncProperty(scenario, check), { seed, numRuns: runs });
    // Otherwise it would compare misses alone.
    expect(hits).to.be.above(runs / 2);
  });
});

function selecting({ language, encoding, range, control }: Asked): Record<string, string> {
  return {
    ...(language === undefined ? {} : { "accept-language": language }),
    ...(encoding === undefined ? {} : { "accept-encoding": encoding }),
    ...(range === undefined ? {} : { range }),
    ...(control === undefined ? {} : { "cache-control": control }),
  };
}

function conditionOf({ condition }: Asked, { headers }: ByteAnswer): Record<string, string> {
  const { etag = '"none"', "last-modified": modified = "Tue, 24 Nov 2026 10:00:00 GMT" } = headers;
  const texts = {
    none: {},
    same: { "if-none-match": String(etag) },
    list: { "if-none-match": `"other", ${String(etag)}` },
    other: { "if-none-match": '"other"' },
    any: { "if-none-match": "*" },
    since: { "if-modified-since": String(modified) },
    earlier: { "if-modified-since": "Tue, 24 Nov 2020 10:00:00 GMT" },
    broken: { "if-modified-since": "yesterday" },
  } satisfies Record<Asked["condition"], Record<string, string>>;
  return texts[condition];
}
