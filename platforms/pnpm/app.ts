import { portcullis } from "@portcullis/express";
import { createTokenFactory } from "@portcullis/express/testing";
import express from "express";

declare module "@portcullis/express" {
  interface Register {
    claims: { tenant: string };
  }
}

const tokens = createTokenFactory({ audience: "orders-api" });
const gate = portcullis({ redis: "memory", auth: tokens.auth });
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => {
  const tenant: string | undefined = req.auth?.claims.tenant;
  res.json({ tenant });
});

const server = app.listen(0, "127.0.0.1", () => void drive());

async function drive(): Promise<void> {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const headers = { authorization: `Bearer ${await tokens.sign({ tenant: "acme" })}` };
  const answer = await fetch(`http://127.0.0.1:${address.port}/`, { headers });
  console.log(JSON.stringify(await answer.json()));
  server.close();
  server.closeAllConnections();
  await gate.close();
}
