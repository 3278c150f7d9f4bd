// The gate on Express; in process unless BENCH_REDIS_URL names a server.
import express from "express";
import { portcullis } from "../../packages/express/dist/index.js";
import { answer, gateOptions } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const gate = portcullis(gateOptions(process.env.BENCH_REDIS_URL ?? "memory", process.env.BENCH_MODE));
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => res.json(answer));
serve(app);
