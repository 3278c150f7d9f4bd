import type { IssuedTokens, KoaGate } from "@portcullis/koa";
import type { Context, Middleware, Next } from "koa";
import { authOf, sendProblem } from "./answers.js";
import { readJson } from "./body.js";
import type { Live } from "./live.js";
import { route } from "./router.js";
import type { UserStore } from "./users.js";
import { parseCredentials } from "./users.js";

/**
 * Sign-in, refresh and sign-out, each in two forms: `/login`, `/refresh` and `/logout` for clients that keep their tokens
 * themselves, and the same below `/auth` for browsers, which get them as cookies that no script can read.
 */
export function signInRoutes(gate: KoaGate, users: UserStore, secret: Uint8Array, live: Live): Middleware[] {
  const { tokens, sessions } = gate;
  const throttle = gate.throttleLogin({
    account: (ctx) => (ctx.state.body as { username?: unknown } | undefined)?.username,
    device: { secret },
  });
  const logout: Middleware[] = [gate.authenticate(), signOut];
  const logoutEverywhere: Middleware[] = [gate.authenticate(), signOutEverywhere];

  return [
    route("POST", "/login", parse, throttle, signIn(sendTokens)),
    route("POST", "/auth/login", parse, throttle, signIn(sendCookies)),
    route("POST", "/refresh", parse, async (ctx) => {
      const { refresh_token: token } = (ctx.state.body ?? {}) as { refresh_token?: string };
      await refresh(ctx, token, sendTokens);
    }),
    route("POST", "/auth/session", describeSession),
    route("POST", "/auth/refresh", (ctx) => refresh(ctx, tokens.cookies.readRefresh(ctx.get("cookie")), sendCookies)),
    route("POST", "/logout", ...logout),
    route("POST", "/auth/logout", ...logout),
    route("POST", "/logout/everywhere", ...logoutEverywhere),
    route("POST", "/auth/logout/everywhere", ...logoutEverywhere),
  ];

  function signIn(send: (ctx: Context, issued: IssuedTokens) => void): Middleware {
    return async function signInHandler(ctx) {
      const credentials = parseCredentials(ctx.state.body);
      if (credentials === undefined) return sendProblem(ctx, 400);
      const user = await users.authenticate(credentials.username, credentials.password);
      if (user === undefined) return sendProblem(ctx, 401);
      const issued = await tokens.issue({
        subject: user.name,
        scopes: user.scope.split(" "),
        device: deviceOf(ctx),
        // Says that the password was right, and that a fault of Redis was nobody's wrong guess.
        attempt: ctx.loginAttempt,
      });
      live.sessionsChanged(user.name);
      send(ctx, issued);
      if (ctx.loginAttempt !== undefined) ctx.append("Set-Cookie", ctx.loginAttempt.deviceCookie());
    };
  }

  async function refresh(
    ctx: Context,
    token: string | undefined,
    send: (ctx: Context, issued: IssuedTokens) => void,
  ): Promise<void> {
    try {
      send(ctx, await tokens.refresh(token, { device: deviceOf(ctx) }));
    } catch (error) {
      const answer = tokens.answer(error);
      if (answer === undefined) throw error;
      ctx.status = answer.status;
      ctx.set(answer.headers);
      ctx.body = answer.body;
    }
  }

  /** What a page asks when it is opened. It is no error that nobody is signed in, so the answer is no refusal. */
  async function describeSession(ctx: Context): Promise<void> {
    ctx.set("Cache-Control", "no-store");
    const known = await gate.verify(ctx.req);
    if (known.allowed) {
      ctx.body = { signedIn: true };
      return;
    }
    // Nobody can say at the moment: the page asks again.
    if (known.status === 503) return sendProblem(ctx, 503);
    try {
      // The access token has expired or is missing: the refresh token may be good.
      const issued = await tokens.refresh(tokens.cookies.readRefresh(ctx.get("cookie")), { device: deviceOf(ctx) });
      ctx.append("Set-Cookie", tokens.cookies.write(issued));
      ctx.body = { signedIn: true };
    } catch (error) {
      const answer = tokens.answer(error);
      if (answer?.status !== 400) throw error;
      ctx.body = { signedIn: false };
    }
  }

  async function signOut(ctx: Context): Promise<void> {
    // Rejects, and so answers 503, if it could not be recorded: nobody is told that they are signed out when they are not.
    await sessions.revoke(ctx.auth);
    live.sessionsChanged(authOf(ctx).subject);
    ctx.append("Set-Cookie", tokens.cookies.clear());
    ctx.status = 204;
  }

  async function signOutEverywhere(ctx: Context): Promise<void> {
    await sessions.revokeAll(authOf(ctx));
    ctx.append("Set-Cookie", tokens.cookies.clear());
    ctx.status = 204;
  }

  function sendTokens(ctx: Context, { response }: IssuedTokens): void {
    ctx.set("Cache-Control", "no-store");
    ctx.body = response;
  }

  function sendCookies(ctx: Context, issued: IssuedTokens): void {
    ctx.append("Set-Cookie", tokens.cookies.write(issued));
    ctx.status = 204;
  }
}

/** A page of another origin cannot send JSON without being asked first, so nobody is signed in unawares. */
async function parse(ctx: Context, next: Next): Promise<void> {
  ctx.state.body = await readJson(ctx, 4096);
  await next();
}

function deviceOf(ctx: Context): { ip: string; userAgent: string } {
  return { ip: ctx.ip, userAgent: ctx.get("user-agent") };
}
