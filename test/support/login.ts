import type { AnyOptions, AnyGate, RunningApp, TestApp } from "./app.js";
import type { StartApp } from "./every-gate.js";
import { send } from "./http.js";
import type { TestAnswer } from "./http.js";
import type { ThrottleLoginOptions } from "@portcullis/core";

type Throttle = Partial<ThrottleLoginOptions<{ readonly headers: Record<string, string | string[] | undefined> }>>;

/** A login route whose only user is alice, with the password "right". */
export interface LoginApp extends RunningApp {
  /** How many passwords were looked at. */
  checks(): number;
  /** Resolves to the answer; sends the account as JSON, so that it may be of any type. */
  attempt(account: unknown, options?: AttemptOptions): Promise<TestAnswer>;
}

export interface AttemptOptions {
  /** @default "wrong" */
  readonly password?: string;
  readonly from?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export async function startLogin(
  start: StartApp,
  throttle: Throttle = {},
  { options = {}, answer }: { options?: Partial<AnyOptions>; answer?: TestApp["routes"][string] } = {},
): Promise<LoginApp> {
  let checks = 0;
  const app = await start(options, {
    behindProxy: true,
    use: (gate: AnyGate) => [
      gate.throttleLogin({
        account: ({ headers }) =>
          headers["x-huge"] === undefined
            ? (JSON.parse(String(headers["x-account"])) as unknown)
            : "a".repeat(1_000_000),
        ...throttle,
      }),
    ],
    routes: {
      "POST /login": async (request, gate) => {
        checks += 1;
        if (answer !== undefined) return answer(request, gate);
        const { headers } =
          (request as { req?: { headers: object } }).req ?? (request as unknown as { headers: object });
        const { "x-account": account, "x-password": password } = headers as Record<string, string>;
        const device = request.loginAttempt?.trustedDevice === true;
        const cookie =
          password === "right" && throttle.device !== undefined ? request.loginAttempt?.deviceCookie() : null;
        if (/^"alice"$/i.test(account ?? "") && password === "right") {
          await request.loginAttempt?.succeed();
          return { welcome: true, device, cookie };
        }
        throw Object.assign(new Error("wrong name or password"), { status: 401 });
      },
    },
  });
  return {
    ...app,
    checks: () => checks,
    attempt: (account, { password = "wrong", from = "192.0.2.1", headers = {} } = {}) =>
      send(`${app.url}/login`, {
        method: "POST",
        from,
        headers: { "x-account": toAscii(JSON.stringify(account)), "x-password": password, ...headers },
      }),
  };
}

/** The statuses of attempts made one after the other. */
export async function statuses(count: number, attempt: (index: number) => Promise<TestAnswer>): Promise<number[]> {
  const seen: number[] = [];
  for (let index = 0; index < count; index += 1) seen.push((await attempt(index)).status);
  return seen;
}

/** JSON as it may stand in a header. */
function toAscii(json: string): string {
  return json.replace(/[^\x20-\x7e]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
