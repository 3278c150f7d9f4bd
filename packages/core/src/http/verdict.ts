import { documentation } from "../lib/documentation.js";

/** The stable name of a reason to refuse a request; each has a heading in docs/errors.md. */
export type DenialCode =
  | "credentials_required"
  | "token_invalid"
  | "token_too_large"
  | "dpop_proof_invalid"
  | "dpop_nonce_required"
  | "request_invalid"
  | "origin_refused"
  | "scope_insufficient"
  | "claim_insufficient"
  | "authentication_stale"
  | "quota_exceeded"
  | "concurrency_exceeded"
  | "abuse_detected"
  | "blocked"
  | "session_limit"
  | "account_missing"
  | "attempts_exceeded"
  | "capacity_exceeded"
  | "store_unavailable"
  | "keys_unavailable";

interface DenialKind {
  readonly status: number;
  readonly title: string;
  /** The problem type, where IANA has registered one. @default the code's heading in docs/errors.md */
  readonly type?: string;
}

/** Every way to say no: the one table from a code to its status, title and type. */
const denials: Readonly<Record<DenialCode, DenialKind>> = {
  credentials_required: { status: 401, title: "Credentials are required" },
  token_invalid: { status: 401, title: "The access token is not valid" },
  token_too_large: { status: 401, title: "The access token is too large" },
  dpop_proof_invalid: { status: 401, title: "The DPoP proof is not valid" },
  dpop_nonce_required: { status: 401, title: "The DPoP proof needs the nonce in DPoP-Nonce" },
  request_invalid: { status: 400, title: "The request carries more than one access token" },
  origin_refused: { status: 403, title: "The request comes from an origin that is not allowed" },
  scope_insufficient: { status: 403, title: "The access token does not grant the scope this needs" },
  claim_insufficient: { status: 403, title: "The access token does not have the claims this needs" },
  authentication_stale: { status: 401, title: "A more recent or a stronger sign-in is needed" },
  quota_exceeded: {
    status: 429,
    title: "Request cannot be satisfied as assigned quota has been exceeded",
    type: "https://iana.org/assignments/http-problem-types#quota-exceeded",
  },
  concurrency_exceeded: {
    status: 429,
    title: "Request cannot be satisfied as assigned quota has been exceeded",
    type: "https://iana.org/assignments/http-problem-types#quota-exceeded",
  },
  abuse_detected: {
    status: 429,
    title: "Request not satisfied due to detection of abnormal request pattern",
    type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
  },
  blocked: { status: 403, title: "Requests from this address are not accepted" },
  session_limit: { status: 409, title: "The user already has the maximum number of sessions" },
  account_missing: { status: 400, title: "The request does not name an account to sign in to" },
  attempts_exceeded: {
    status: 429,
    title: "Too many attempts to sign in",
    type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
  },
  capacity_exceeded: {
    status: 503,
    title: "Too many sign-ins are in progress",
    type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
  },
  store_unavailable: { status: 503, title: "A dependency that decides about this request is unavailable" },
  keys_unavailable: { status: 503, title: "The keys that verify access tokens are unavailable" },
};

/** An RFC 9457 problem. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: DenialCode;
  readonly "violated-policies"?: readonly string[];
}

export type Header = readonly [name: string, value: string];

/** The request may pass; the headers go on the response. */
export interface Allowed {
  readonly allowed: true;
  readonly headers: readonly Header[];
}

/** The request is refused, with the whole answer. */
export interface Denied {
  readonly allowed: false;
  readonly status: number;
  readonly headers: readonly Header[];
  readonly problem: Problem;
  /** The problem as JSON, ready to send. */
  readonly body: string;
  /** A short phrase for logs, never sent to the client. */
  readonly cause: string;
  readonly form?: undefined;
  readonly removed?: undefined;
}

/**
 * How a handler gave its body. To node:http: `whole`, in one piece with the end of the response, or in `parts`. To a
 * framework that holds responses, as Koa does: a value for `json`, `text`, `bytes`, a `stream`, `null`; a status and no body
 * (`none`), or neither (`unset`).
 */
export type BodyForm = (typeof bodyForms)[number];

export const bodyForms = ["whole", "parts", "json", "text", "bytes", "stream", "null", "none", "unset"] as const;

/** The request is answered here, by one of the gate's own routes. */
export interface Reply {
  readonly allowed: false;
  readonly status: number;
  readonly headers: readonly Header[];
  readonly body: string | Uint8Array;
  /** For the response of a handler, given again: how the handler gave its body. */
  readonly form?: BodyForm | undefined;
  /** Fields, in lower case, that stood on the response before its handler, which removed them. */
  readonly removed?: readonly string[] | undefined;
  readonly problem?: undefined;
}

/** What a check that only admits or refuses says. */
export type Decision = Allowed | Denied;

export type Verdict = Decision | Reply;

export const allowed: Allowed = Object.freeze({ allowed: true, headers: Object.freeze([]) });

export interface DenialDetails {
  /** Why, in a short fixed phrase for logs; no identifiers. */
  readonly cause: string;
  /** Response headers besides the content type and `Cache-Control: no-store`. */
  readonly headers?: readonly Header[];
  readonly violatedPolicies?: readonly string[];
}

/** A refusal with its complete answer: status, headers and problem body. */
export function deny(code: DenialCode, { cause, headers = [], violatedPolicies }: DenialDetails): Denied {
  const prepared = violatedPolicies === undefined ? plainAnswers[code] : prepare(code, violatedPolicies);
  return {
    allowed: false,
    status: prepared.problem.status,
    headers: headers.length === 0 ? prepared.headers : [...headers, ...prepared.headers],
    problem: prepared.problem,
    body: prepared.body,
    cause,
  };
}

interface PreparedAnswer {
  readonly problem: Problem;
  readonly body: string;
  readonly headers: readonly Header[];
}

function prepare(code: DenialCode, violatedPolicies?: readonly string[]): PreparedAnswer {
  const { status, title, type = `${documentation}#${code}` } = denials[code];
  const problem: Problem = {
    type,
    title,
    status,
    code,
    ...(violatedPolicies === undefined ? {} : { "violated-policies": violatedPolicies }),
  };
  const body = JSON.stringify(problem);
  return {
    problem,
    body,
    headers: [
      ["Content-Type", "application/problem+json"],
      ["Content-Length", String(Buffer.byteLength(body))],
      ["Cache-Control", "no-store"],
    ],
  };
}

const plainAnswers = Object.fromEntries(
  (Object.keys(denials) as DenialCode[]).map((code) => [code, prepare(code)]),
) as Record<DenialCode, PreparedAnswer>;

/** What is left of an answer when the response has already begun: a refusal becomes an error, another answer nothing. */
export function lateError(answer: Denied | Reply): DenialError | undefined {
  return answer.problem === undefined ? undefined : new DenialError(answer);
}

/**
 * A refusal as an error, for `onDeny: "throw"` and for responses that have already begun.
 * Express and Koa answer with `status` and `headers` when nothing else handles it.
 */
export class DenialError extends Error {
  override readonly name = "DenialError";
  readonly status: number;
  readonly statusCode: number;
  readonly expose = true;
  readonly code: DenialCode;
  readonly headers: Readonly<Record<string, string>>;
  readonly problem: Problem;

  constructor({ status, headers, problem }: Denied) {
    super(problem.title);
    this.status = status;
    this.statusCode = status;
    this.code = problem.code;
    this.headers = Object.fromEntries(headers.filter(([name]) => !name.startsWith("Content-")));
    this.problem = problem;
  }
}
