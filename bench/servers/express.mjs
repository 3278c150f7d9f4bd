// Express alone: what every ratio of an Express target is against.
import express from "express";
import { answer, rateLimitHeaders } from "../lib/settings.mjs";
import { serve } from "./serve.mjs";

const app = express();
app.get("/", (req, res) => res.set(rateLimitHeaders).json(answer));
serve(app);
