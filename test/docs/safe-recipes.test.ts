import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { listDocuments, root, snippetsOf } from "./documents.js";

/** A mistake that a recipe must not teach, and the code by which the rule itself is tried. */
interface Mistake {
  readonly isIn: (code: string) => boolean;
  readonly wrong: string;
  readonly right: string;
}

const mistakes: Readonly<Record<string, Mistake>> = {
  "compares a secret by an operator, whose time tells how much was right": {
    isIn: (code) =>
      /[=!]==?\s*process\.env\.(?!NODE_ENV)/.test(code) ||
      /process\.env\.(?!NODE_ENV)\w+\s*[=!]={1,2}(?!=|\s*undefined)/.test(code) ||
      /(?:secret|password|digest|signature)\w*\s*[=!]={1,2}(?!=|\s*(?:undefined|null|["'`]))/i.test(code),
    wrong: "client.secret === process.env.WEB_SECRET",
    right: 'if (secret === undefined || process.env.NODE_ENV === "production") stop()',
  },
  "trusts every proxy, so that clients choose their address": {
    isIn: (code) => /"trust proxy", true/.test(code) || (/proxy: true/.test(code) && !/maxIpsCount: [1-9]/.test(code)),
    wrong: "new Koa({ proxy: true })",
    right: "new Koa({ proxy: true, maxIpsCount: 1 })",
  },
  "logs out by the access token alone, and leaves the refresh token alive": {
    isIn: (code) => /"\/logout[^]*?revocations\.revoke\(/.test(code),
    wrong: 'app.post("/logout", async (req) => gate.revocations.revoke(req.auth))',
    right: 'app.post("/logout", async (req) => gate.sessions.revoke(req.auth))',
  },
  "waits for ever for event streams to end before it stops": {
    isIn: (code) => /server\.close\(/.test(code) && !/closeAllConnections|session\.destroy\(\)/.test(code),
    wrong: 'process.once("SIGTERM", () => server.close())',
    right: "server.close(); setTimeout(() => server.closeAllConnections(), 1000)",
  },
  "sets a cookie that travels without TLS": {
    isIn: (code) => /"Set-Cookie",\s*["'`](?![^"'`]*; Secure)/.test(code),
    wrong: 'res.append("Set-Cookie", "token=a; HttpOnly")',
    right: 'res.append("Set-Cookie", "__Host-token=a; Path=/; HttpOnly; Secure")',
  },
  "shows everybody the metrics, or the details of health": {
    isIn: (code) => /\bapp\.use\([^;]*routes\.(?:metrics\(|health\(\{ details: true)/.test(code),
    wrong: "app.use(gate.routes.metrics());",
    right: "app.use(gate.routes.health()); internal.use(gate.routes.metrics());",
  },
  "ends the process by a value that a client may leave out": {
    isIn: (code) => /(?:req|ctx\.request)\.body\.\w/.test(code),
    wrong: "gate.tokens.refresh(req.body.refresh_token)",
    right: "gate.tokens.refresh(req.body?.refresh_token)",
  },
};

describe("no recipe", () => {
  const recipes = [
    ...listDocuments()
      .flatMap(snippetsOf)
      .filter(({ language }) => language === "ts" || language === "js")
      .map(({ document, line, code }) => ({ place: `${document}:${line}`, code })),
    ...["express-api", "koa-api"].flatMap((example) =>
      readdirSync(join(root, "examples", example, "src")).map((name) => {
        const place = `examples/${example}/src/${name}`;
        return { place, code: readFileSync(join(root, place), "utf8") };
      }),
    ),
  ];

  for (const [mistake, { isIn, wrong, right }] of Object.entries(mistakes)) {
    it(mistake, () => {
      expect([isIn(wrong), isIn(right)], "the rule").to.deep.equal([true, false]);
      expect(recipes.filter(({ code }) => isIn(code)).map(({ place }) => place)).to.deep.equal([]);
    });
  }
});
