import type { ExpressGate, IssuedTokens } from "@portcullis/express";
import { Router, json } from "express";
import type { Request, RequestHandler, Response } from "express";
import { authOf, sendProblem } from "./answers.js";
import type { Live } from "./live.js";
import type { UserStore } from "./users.js";
import { parseCredentials } from "./users.js";

/**
 * Sign-in, refresh and sign-out, each in two forms: `/login`, `/refresh` and `/logout` for clients that keep their tokens
 * themselves, and the same below `/auth` for browsers, which get them as cookies that no script can read.
 */
export function signInRoutes(gate: ExpressGate, users: UserStore, secret: Uint8Array, live: Live): Router {
  const { tokens, sessions } = gate;
  const router = Router();
  // A page of another origin cannot send JSON without being asked first, so nobody is signed in unawares.
  const parse = json({ limit: 4096 });
  const throttle = gate.throttleLogin({
    account: (req) => (req.body as { username?: unknown } | undefined)?.username,
    device: { secret },
  });

  router.post("/login", parse, throttle, signIn(sendTokens));
  router.post("/auth/login", parse, throttle, signIn(sendCookies));

  router.post("/refresh", parse, async (req, res) => {
    const { refresh_token: token } = (req.body ?? {}) as { refresh_token?: string };
    await refresh(req, res, token, sendTokens);
  });
  /** What a page asks when it is opened. It is no error that nobody is signed in, so the answer is no refusal. */
  router.post("/auth/session", async (req, res) => {
    res.set("Cache-Control", "no-store");
    const known = await gate.verify(req);
    if (known.allowed) return void res.json({ signedIn: true });
    // Nobody can say at the moment: the page asks again.
    if (known.status === 503) return sendProblem(res, 503);
    try {
      // The access token has expired or is missing: the refresh token may be good.
      const issued = await tokens.refresh(tokens.cookies.readRefresh(req.get("cookie")), { device: deviceOf(req) });
      res.append("Set-Cookie", tokens.cookies.write(issued)).json({ signedIn: true });
    } catch (error) {
      const answer = tokens.answer(error);
      if (answer?.status !== 400) throw error;
      res.json({ signedIn: false });
    }
  });
  router.post("/auth/refresh", (req, res) =>
    refresh(req, res, tokens.cookies.readRefresh(req.get("cookie")), sendCookies),
  );

  router.post(["/logout", "/auth/logout"], gate.authenticate(), async (req, res) => {
    // Rejects, and so answers 503, if it could not be recorded: nobody is told that they are signed out when they are not.
    await sessions.revoke(req.auth);
    live.sessionsChanged(authOf(req).subject);
    res.append("Set-Cookie", tokens.cookies.clear()).sendStatus(204);
  });

  router.post(["/logout/everywhere", "/auth/logout/everywhere"], gate.authenticate(), async (req, res) => {
    await sessions.revokeAll(authOf(req));
    res.append("Set-Cookie", tokens.cookies.clear()).sendStatus(204);
  });

  return router;

  function signIn(send: (res: Response, issued: IssuedTokens) => void): RequestHandler {
    return async function signInHandler(req, res) {
      const credentials = parseCredentials(req.body);
      if (credentials === undefined) return sendProblem(res, 400);
      const user = await users.authenticate(credentials.username, credentials.password);
      if (user === undefined) return sendProblem(res, 401);
      const issued = await tokens.issue({
        subject: user.name,
        scopes: user.scope.split(" "),
        device: deviceOf(req),
        // Says that the password was right, and that a fault of Redis was nobody's wrong guess.
        attempt: req.loginAttempt,
      });
      live.sessionsChanged(user.name);
      if (req.loginAttempt !== undefined) res.append("Set-Cookie", req.loginAttempt.deviceCookie());
      send(res, issued);
    };
  }

  async function refresh(
    req: Request,
    res: Response,
    token: string | undefined,
    send: (res: Response, issued: IssuedTokens) => void,
  ): Promise<void> {
    try {
      send(res, await tokens.refresh(token, { device: deviceOf(req) }));
    } catch (error) {
      const answer = tokens.answer(error);
      if (answer === undefined) throw error;
      res.status(answer.status).set(answer.headers).json(answer.body);
    }
  }

  function sendTokens(res: Response, { response }: IssuedTokens): void {
    res.set("Cache-Control", "no-store").json(response);
  }

  function sendCookies(res: Response, issued: IssuedTokens): void {
    res.append("Set-Cookie", tokens.cookies.write(issued)).sendStatus(204);
  }
}

function deviceOf(req: Request): { ip: string | undefined; userAgent: string | undefined } {
  return { ip: req.ip, userAgent: req.get("user-agent") };
}
