// The gate on Express with default options, on whatever Redis BENCH_REDIS describes.
import express from "express";
import { portcullis } from "../../packages/express/dist/index.js";
import { answer, gateOptions } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const logger = { debug: () => undefined, warn: () => undefined };
const gate = portcullis({ ...gateOptions(JSON.parse(process.env.BENCH_REDIS)), logger });
const app = express();
app.use(gate.guard());
app.get("/", (req, res) => res.json(answer));
serve(app);
