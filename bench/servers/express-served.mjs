// The gate on Express as in express-gate.mjs, but on the gate's own server.
import express from "express";
import { portcullis } from "../../packages/express/dist/index.js";
import { answer, gateOptions } from "../lib/settings.mjs";
import { serve, serverOptions } from "./serve.mjs";

const gate = portcullis(gateOptions(process.env.BENCH_REDIS_URL ?? "memory", process.env.BENCH_MODE));
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => res.json(answer));
serve(gate.serve(app, serverOptions));
