// The guard by hand on Express: what the work itself costs. Its file is not part of this repository.
import express from "express";
import { Redis } from "ioredis";
import { answer } from "../lib/settings.mjs";
import { floorOptions } from "../lib/floor-options.mjs";
import { serve } from "./serve.mjs";

const { expressFloor } = await import(process.env.BENCH_FLOOR);
const app = express();
app.use(expressFloor(floorOptions(new Redis(process.env.BENCH_REDIS_URL))));
app.get("/", (req, res) => res.json(answer));
serve(app);
