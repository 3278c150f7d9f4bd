import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { ExpressGate } from "@portcullis/express";
import { signToken, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import type { Express, RequestHandler } from "express";
import { jwtVerify } from "jose";
import { cleanUp } from "../support/clean-up.js";
import { send } from "../support/http.js";
import { openPrograms, withEnvironment } from "./programs.js";

/** The program "Both side by side" in docs/migrate-jwt.md. */
interface Program {
  readonly app: Express;
  readonly gate: ExpressGate;
}

describe("the program in docs/migrate-jwt.md", function () {
  this.timeout(30_000);

  it("lets the present middleware decide, and reports what the gate would refuse", async () => {
    /** As many libraries are used: without an audience. */
    const present: RequestHandler = async (req, res, next) => {
      const token = (req.get("authorization") ?? "").replace("Bearer ", "");
      await jwtVerify(token, Buffer.from(testSecret)).then(
        ({ payload }) => {
          Object.assign(req, { auth: payload });
          next();
        },
        () => void res.sendStatus(401),
      );
    };
    const programs = await openPrograms("docs/migrate-jwt.md", { "app.ts": "declare const present" }, { present });
    cleanUp(() => programs.remove());
    const environment = { NODE_ENV: undefined, REDIS_URL: "memory", JWT_SECRET: testSecret };
    const { app, gate } = await withEnvironment(environment, () => programs.load<Program>("app.ts"));
    app.get("/me", (req, res) => res.json({ subject: (req.auth as { sub?: string } | undefined)?.sub }));
    const server = createServer(app);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanUp(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await gate.close();
    });
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/me`;
    const reports: unknown[][] = [];
    const { warn } = console;
    console.warn = (...words: unknown[]) => void reports.push(words);
    cleanUp(() => (console.warn = warn));
    const warnings: string[] = [];
    const emitWarning = process.emitWarning.bind(process);
    process.emitWarning = (text: string | Error) => void warnings.push(String(text));
    cleanUp(() => (process.emitWarning = emitWarning));

    const issuer = "https://id.example.com";
    const good = await signToken({ iss: issuer, aud: "orders-api", sub: "alice" });
    expect((await send(url, { token: good })).status).to.equal(200);
    expect(reports).to.deep.equal([]);
    const other = await signToken({ iss: issuer, aud: "other-api", sub: "alice" });
    const answer = await send(url, { token: other });
    expect(answer.json).to.deep.equal({ subject: "alice" });
    expect(reports).to.have.length(1);
    expect(reports[0]?.slice(0, 2)).to.deep.equal(["the gate would refuse:", "token_invalid"]);
    expect((await send(url)).status).to.equal(401);
    expect(reports).to.have.length(2);
    expect(warnings.filter((text) => /an error handler dropped the DenialError/.test(text))).to.have.length(1);
    expect(warnings).to.have.length(1);
  });
});
