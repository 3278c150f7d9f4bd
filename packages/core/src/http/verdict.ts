import { STATUS_CODES } from "node:http";
import { outage } from "../lib/outage.js";
import type { DenialDetail, DescribeDenial } from "./denial-detail.js";
import { fullCause, readDetail } from "./denial-detail.js";
import type { Quota } from "./quota.js";
import type { StreamBody } from "./stream-body.js";

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
  | "method_not_allowed"
  | "not_acceptable"
  | "topic_invalid"
  | "topic_refused"
  | "event_id_invalid"
  | "content_too_large"
  | "idempotency_key_missing"
  | "idempotency_key_invalid"
  | "idempotency_conflict"
  | "idempotency_completed"
  | "idempotency_mismatch"
  | "account_missing"
  | "attempts_exceeded"
  | "capacity_exceeded"
  | "connection_limit"
  | "connection_capacity"
  | "store_unavailable"
  | "keys_unavailable";

interface DenialKind {
  readonly status: number;
  /** A sentence for people. */
  readonly title: string;
  /** The problem type, where IANA has registered one. @default about:blank, or the type that option `problemTypes` gives */
  readonly type?: string;
}

/** The table of refusals: status, sentence and type of each code. */
const denials: Readonly<Record<DenialCode, DenialKind>> = {
  credentials_required: { status: 401, title: "Credentials are required" },
  token_invalid: { status: 401, title: "The access token is not valid" },
  token_too_large: { status: 401, title: "The access token is too large" },
  dpop_proof_invalid: { status: 401, title: "The DPoP proof is not valid" },
  dpop_nonce_required: { status: 401, title: "The DPoP proof must contain the nonce from the DPoP-Nonce header" },
  request_invalid: { status: 400, title: "The request carries more than one access token" },
  origin_refused: { status: 403, title: "The request comes from an origin that is not allowed" },
  scope_insufficient: { status: 403, title: "The access token does not grant the required scope" },
  claim_insufficient: { status: 403, title: "The access token does not have the required claims" },
  authentication_stale: { status: 401, title: "A more recent or stronger sign-in is required" },
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
  method_not_allowed: { status: 405, title: "The method is not allowed for a stream of events" },
  not_acceptable: { status: 406, title: "The client does not accept text/event-stream" },
  topic_invalid: { status: 400, title: "The topics of the request are not valid" },
  topic_refused: { status: 403, title: "The user may not receive this topic" },
  event_id_invalid: { status: 400, title: "The Last-Event-ID is not valid" },
  content_too_large: { status: 413, title: "The body of the request is too large" },
  idempotency_key_missing: { status: 400, title: "The request needs the header Idempotency-Key" },
  idempotency_key_invalid: { status: 400, title: "The header Idempotency-Key is not valid" },
  idempotency_conflict: { status: 409, title: "A request with this Idempotency-Key is in progress" },
  idempotency_completed: {
    status: 409,
    title: "The request with this Idempotency-Key was completed, but its response was not kept",
  },
  idempotency_mismatch: { status: 422, title: "This Idempotency-Key belongs to another request" },
  account_missing: { status: 400, title: "The request does not name an account" },
  attempts_exceeded: {
    status: 429,
    title: "Too many sign-in attempts",
    type: "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
  },
  capacity_exceeded: {
    status: outage.status,
    title: "Too many sign-ins are in progress",
    type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
  },
  connection_limit: { status: 429, title: "The user has too many open connections" },
  connection_capacity: {
    status: outage.status,
    title: "This process has too many open connections",
    type: "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
  },
  store_unavailable: { status: outage.status, title: "A dependency that is required for this request is unavailable" },
  keys_unavailable: { status: outage.status, title: "The keys that verify access tokens are unavailable" },
};

/** Is this a code of Portcullis? Applications may make a {@link DenialError} with a code of their own. */
export function isDenialCode(code: string): code is DenialCode {
  return Object.hasOwn(denials, code);
}

/** Status of the response for a refusal. */
export function statusOf(code: DenialCode): number {
  return denials[code].status;
}

/** An RFC 9457 problem. */
export interface Problem {
  /** A type registered with IANA, or one of option `problemTypes`, or `about:blank`. */
  readonly type: string;
  /** A sentence about the type; the phrase of the status for `about:blank`. */
  readonly title: string;
  /** Status of the response. */
  readonly status: number;
  /** A sentence about the problem, where the title is only the phrase of the status. */
  readonly detail?: string;
  /** The stable name of the reason. */
  readonly code: DenialCode;
  /** Names of the exhausted limits. */
  readonly "violated-policies"?: readonly string[];
}

/** A header field: its name and its value. */
export type Header = readonly [name: string, value: string];

/** The request may pass. The headers are set on the response. */
export interface Allowed {
  readonly allowed: true;
  readonly headers: readonly Header[];
}

/** The request is refused. This is the whole answer. */
export interface Denied {
  /** Always false: the request must not pass. */
  readonly allowed: false;
  /** Status of the response. */
  readonly status: number;
  /** Header fields of the response. */
  readonly headers: readonly Header[];
  /** The problem in the body. */
  readonly problem: Problem;
  /** The problem as JSON. */
  readonly body: string;
  /** A short phrase for logs, the same for all refusals of its kind. It is never sent to the client. */
  readonly cause: string;
  /** The claim, the policy, or the dependency that the cause is about. It is made when it is read, and never sent. */
  readonly detail?: DenialDetail | undefined;
  /** For a refusal by limits: the state of each limit that was applied. */
  readonly quotas?: readonly Quota[] | undefined;
  /** Never set for a refusal. */
  readonly form?: undefined;
  /** Never set for a refusal. */
  readonly removed?: undefined;
}

/**
 * The way in which a handler has set its body. On node:http: `whole`, in one piece with the end of the response, or in `parts`.
 * On a framework that holds responses, as Koa does: a value for `json`, `text`, `bytes`, a `stream`, `null`; a status without a
 * body (`none`), or neither (`unset`).
 */
export type BodyForm = (typeof bodyForms)[number];

export const bodyForms = ["whole", "parts", "json", "text", "bytes", "stream", "null", "none", "unset"] as const;

/** The request is answered by the gate itself: by a route, a response cache, a stream of events, or for a preflight. */
export type Reply = WholeReply | StreamReply;

interface ReplyHead {
  readonly allowed: false;
  readonly status: number;
  readonly headers: readonly Header[];
  /** Lower-case names of fields that were set before the handler, and that the handler has removed. */
  readonly removed?: readonly string[] | undefined;
  readonly problem?: undefined;
}

interface WholeReply extends ReplyHead {
  readonly body: string | Uint8Array;
  /** For a stored response: the way in which the handler has set its body. */
  readonly form?: BodyForm | undefined;
}

interface StreamReply extends ReplyHead {
  readonly body: StreamBody;
  readonly form: "stream";
}

/** The verdict of a check that only allows or refuses. */
export type Decision = Allowed | Denied;

export type Verdict = Decision | Reply;

export const allowed: Allowed = Object.freeze({ allowed: true, headers: Object.freeze([]) });

export interface DenialDetails {
  /** The reason in a short fixed phrase for logs, without identifiers. */
  readonly cause: string;
  readonly detail?: DescribeDenial | undefined;
  /** Response headers besides the content type and `Cache-Control: no-store`. */
  readonly headers?: readonly Header[];
  readonly violatedPolicies?: readonly string[];
  readonly quotas?: readonly Quota[];
}

/** A refusal with its complete answer: status, headers and problem body. */
export function deny(
  code: DenialCode,
  { cause, detail, headers = [], violatedPolicies, quotas }: DenialDetails,
): Denied {
  const prepared = violatedPolicies === undefined ? plainAnswers[code] : prepare(code, violatedPolicies);
  const rest = {
    allowed: false,
    status: prepared.problem.status,
    headers: headers.length === 0 ? prepared.headers : [...headers, ...prepared.headers],
    problem: prepared.problem,
    body: prepared.body,
    cause,
    quotas,
  } as const;
  return detail === undefined ? rest : withDetail(rest, detail);
}

/** Not enumerable, so that no copy and no serialisation of the refusal contains it. */
function withDetail(denied: Denied, describe: DescribeDenial): Denied {
  return Object.defineProperty(denied, "detail", { get: () => readDetail(describe) });
}

const outageFields: readonly Header[] = Object.entries(outage.headers);

/** The refusal for an outage: a dependency that had to decide cannot. It is never the client's fault. */
export function unavailable(
  cause: string,
  code: "store_unavailable" | "keys_unavailable" | "capacity_exceeded" | "connection_capacity" = "store_unavailable",
  detail?: DescribeDenial,
): Denied {
  return deny(code, { cause, detail, headers: outageFields });
}

type PreparedAnswer = Pick<Denied, "problem" | "body" | "headers">;

function prepare(code: DenialCode, violatedPolicies?: readonly string[]): PreparedAnswer {
  const { status, title, type } = denials[code];
  const policies = violatedPolicies === undefined ? {} : { "violated-policies": violatedPolicies };
  if (type !== undefined) return problemAnswer({ type, title, status, code, ...policies });
  // RFC 9457, 4.2.1: the title of about:blank is the phrase of the status.
  const phrase = STATUS_CODES[status] ?? "Error";
  return problemAnswer({ type: "about:blank", title: phrase, status, detail: title, code, ...policies });
}

/** The answer with a problem: its body, and the headers that describe it. */
export function problemAnswer(problem: Problem): PreparedAnswer {
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

/** The error for a refusal that comes after the response has begun; undefined for a reply, which is dropped. */
export function lateError(answer: Denied | Reply): DenialError | undefined {
  return answer.problem === undefined ? undefined : new DenialError(answer);
}

/**
 * The error for a value that a function of the application has thrown. For frameworks a value may be no failure at all: Express
 * goes on after `undefined`, `null`, `false`, `"route"` and `"router"`, and Koa does not answer.
 */
export function errorOf(thrown: unknown): unknown {
  if (typeof thrown === "object" && thrown !== null) return thrown;
  return new TypeError(`portcullis: a function of the application threw ${typeof thrown}, which is no Error`);
}

/** A promise that is rejected with the error for a thrown value. */
export function failWithError(thrown: unknown): Promise<never> {
  const error = errorOf(thrown) as Error;
  return Promise.reject(error);
}

/** How a middleware refuses: with an answer, or with a `DenialError` for the application's error handler. */
export interface DenyOptions {
  /** `"respond"` answers the request; `"throw"` throws a {@link DenialError}. @default "respond" */
  readonly onDeny?: "respond" | "throw" | undefined;
}

/**
 * A refusal as an error, for `onDeny: "throw"` and for responses that have already begun.
 * Express and Koa answer with `status` and `headers` when nothing else handles it.
 */
export class DenialError extends Error {
  override readonly name: string = "DenialError";
  /** Status of the response. */
  readonly status: number;
  /** The same, as Express and other frameworks name it. */
  readonly statusCode: number;
  /** Koa and http-errors: the message may be shown to clients. */
  readonly expose = true;
  /** The stable name of the reason. */
  readonly code: DenialCode;
  /** Header fields of the response, without those that describe its body. */
  readonly headers: Readonly<Record<string, string>>;
  /** The problem document (RFC 9457). */
  readonly problem: Problem;
  /** The reason with its detail, on one line, for logs. Not for clients: it tells an attacker what was wrong. */
  declare readonly cause: string;
  /** The detail of the cause. */
  declare readonly detail: DenialDetail | undefined;
  /** For a refusal by limits: the state of each limit that was applied, also those that did not refuse. */
  readonly quotas: readonly Quota[];

  constructor({ status, headers, problem, cause, detail, quotas = [] }: Denied) {
    super(problem.detail ?? problem.title, { cause: fullCause(cause, detail) });
    Object.defineProperty(this, "detail", { value: detail });
    this.status = status;
    this.statusCode = status;
    this.code = problem.code;
    this.headers = Object.fromEntries(headers.filter(([name]) => !name.startsWith("Content-")));
    this.problem = problem;
    this.quotas = quotas;
  }
}
