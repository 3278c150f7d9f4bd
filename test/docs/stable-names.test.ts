import { expect } from "chai";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { events } from "@portcullis/core";
import ts from "typescript";
import { openGate } from "../support/fake-gate.js";
import { testRedisUrl } from "../support/redis.js";
import { root, sectionOf } from "./documents.js";

// Other services, dashboards, alarms and older releases go by these names. A new one is added here; none is changed.
const keys = [
  ["auth:revoked:<jti>", "string"],
  ["auth:cutoff:<subject>", "string"],
  ["auth:user_tokens:<subject>", "set"],
  ["auth:org_tokens:<organisation>", "set"],
  ["auth:failed:<account>", "string"],
  ["portcullis:2:shared-issuer", "string"],
  ["portcullis:2:revoked:jti:<issuer>:<jti>", "string"],
  ["portcullis:2:cutoff:subject:<issuer>:<subject>", "string"],
  ["portcullis:2:failed:<issuer>:<account>", "string"],
  ["portcullis:2:user_tokens:<issuer>:<subject>", "set"],
  ["portcullis:2:org_tokens:<issuer>:<organisation>", "set"],
  ["portcullis:2:revoked:input:<issuer>:<digest>", "string"],
  ["portcullis:2:cutoff:sid:<issuer>:<session>", "string"],
  ["portcullis:2:cutoff:org:<issuer>:<organisation>", "string"],
  ["portcullis:2:sessions:{n}:<issuer>:<subject>", "sorted set"],
  ["portcullis:2:live-sessions:{n}:<issuer>", "sorted set"],
  ["portcullis:2:session-records:{n}:<issuer>:<subject>", "hash"],
  ["portcullis:2:session-tokens:{n}:<issuer>:<subject>", "sorted set"],
  ["portcullis:2:sessions-ended:{n}:<issuer>:<subject>", "string"],
  ["portcullis:2:group-sessions:{n}:<issuer>:<organisation>", "sorted set"],
  ["portcullis:2:group-tokens:{n}:<issuer>:<organisation>", "sorted set"],
  ["portcullis:2:quota:{n}:<policy>:<partition>", "string"],
  ["portcullis:2:quota-sliding-window-<seconds>:{n}:<policy>:<partition>", "string"],
  ["portcullis:2:quota-token-bucket-<seconds>:{n}:<policy>:<partition>", "string"],
  ["portcullis:2:quota-concurrency-<seconds>:{n}:<policy>:<partition>", "sorted set"],
  ["portcullis:2:quota-block:{n}:<policy>:<partition>", "string"],
  ["portcullis:2:quota-rules:{n}:<issuer>", "hash"],
  ["portcullis:2:quota-demand:{n}:<issuer>:<policy>:<parity>", "sorted set"],
  ["portcullis:2:give-backs:{n}:<process>", "sorted set"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:ip:<address>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:device-ip:<account>:<device>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:pair:<account>:<address>", "hash"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:device:<account>:<device>", "hash"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:account:<account>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:account:<account>:<spelling>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:pace:<account>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:pardon:<account>", "string"],
  ["portcullis:2:login:{n}:<issuer>:<throttle>:known:<account>:<spelling>:<address>", "string"],
  ["portcullis:2:logout:{n}:<issuer>:<jti>", "string"],
  ["portcullis:2:proof:{n}:<issuer>:<thumbprint>:<jti>", "string"],
  ["portcullis:2:marker:{n}", "string"],
  ["portcullis:2:quota:{n}:examination:examination", "string"],
  ["portcullis:2:cache:<service>:<namespace>:{n}:shared:<key>", "string"],
  ["portcullis:2:cache:<service>:<namespace>:{n}:user:<issuer>:<user>:<key>", "string"],
  ["portcullis:2:cache:<service>:<namespace>:{n}:tenant:<issuer>:<tenant>:<key>", "string"],
  ["portcullis:2:cache:<service>::{n}:response:<digest>", "string"],
  ["portcullis:2:cache:<service>::{n}:response-path:<path>", "string"],
  ["portcullis:2:cache:<service>::{n}:response-target:<target>", "string"],
  ["portcullis:2:making:<service>:<namespace>:{n}:shared:<key>", "string"],
  ["portcullis:2:making:<service>:<namespace>:{n}:user:<issuer>:<user>:<key>", "string"],
  ["portcullis:2:making:<service>:<namespace>:{n}:tenant:<issuer>:<tenant>:<key>", "string"],
  ["portcullis:2:withdrawn:<service>:<namespace>:{n}:<random>", "string"],
  ["portcullis:2:generation:<service>:{n}:n:<namespace>", "string"],
  ["portcullis:2:generation:<service>:{n}:t:<tag>", "string"],
  ["portcullis:2:generation:<service>:{n}:s:user:<issuer>:<user>:<namespace>", "string"],
  ["portcullis:2:generation:<service>:{n}:s:tenant:<issuer>:<tenant>:<namespace>", "string"],
  ["portcullis:2:lock:<service>:{n}:<name>", "string"],
  ["portcullis:2:lock:<service>:{n}:<name>:withdrawn:<random>", "string"],
  ["portcullis:2:leader:<service>:{n}:<name>", "string"],
  ["portcullis:2:leader:<service>:{n}:<name>:withdrawn:<random>", "string"],
  ["portcullis:2:channel:<service>:locks", "channel"],
  ["portcullis:2:one-time:<service>:{n}:<bucket>:<digest>", "string"],
  ["portcullis:2:one-time:<service>:{n}:<bucket>:<subject>:<purpose>", "sorted set"],
  ["portcullis:2:idempotency:<service>:{n}:<digest>", "string"],
  ["portcullis:2:event-log:<service>:{n}:<name>", "stream"],
  ["portcullis:2:event-log:<service>:{n}:<name>:head", "string"],
  ["portcullis:2:channel:<service>:app.<name>", "channel"],
  ["portcullis:2:channel:<service>:cache", "channel"],
  ["portcullis:2:socket.io:<service>:{n}:stream", "stream"],
  ["portcullis:2:socket.io:<service>:{n}:states:<id>", "string"],
  ["portcullis:2:channel:<service>:socket.io#/#", "channel"],
  ["portcullis:2:channel:<service>:socket.io#/#<node>#", "channel"],
  ["portcullis:2:channel:<service>:idempotency", "channel"],
  ["portcullis:2:channel:sessions", "channel"],
];

const diagnosticsChannels = [
  "portcullis:verdict",
  "portcullis:denied",
  "portcullis:limited",
  "portcullis:degraded",
  "portcullis:breaker",
  "portcullis:store",
  "portcullis:cache",
  "portcullis:cache-factory",
  "portcullis:cache-invalidation",
  "portcullis:login",
  "portcullis:lock",
  "portcullis:leader",
  "portcullis:one-time",
  "portcullis:idempotency",
  "portcullis:connection",
  "portcullis:channel",
  "portcullis:data-lost",
  "portcullis:logout",
  "portcullis:refresh",
];

const metrics = [
  "portcullis_allowed_total",
  "portcullis_breaker_changes_total",
  "portcullis_breaker_open",
  "portcullis_listening",
  "portcullis_cache_factory_calls_total",
  "portcullis_cache_factory_seconds_total",
  "portcullis_cache_invalidations_total",
  "portcullis_cache_reads_total",
  "portcullis_channel_gaps_total",
  "portcullis_channel_messages_total",
  "portcullis_channel_published_total",
  "portcullis_connections",
  "portcullis_connections_ended_total",
  "portcullis_data_losses_total",
  "portcullis_decision_duration_seconds",
  "portcullis_degraded_total",
  "portcullis_denied_total",
  "portcullis_dependency_up",
  "portcullis_give_backs_lost_total",
  "portcullis_idempotency_total",
  "portcullis_key_fetches_total",
  "portcullis_leader_changes_total",
  "portcullis_limited_total",
  "portcullis_locks_total",
  "portcullis_login_warnings_total",
  "portcullis_logouts_total",
  "portcullis_one_time_total",
  "portcullis_refreshes_total",
  "portcullis_requests_total",
  "portcullis_responses_total",
  "portcullis_security_events_total",
  "portcullis_store_call_duration_seconds",
  "portcullis_store_questions_total",
  "portcullis_unreadable_total",
  "portcullis_up",
];

const breakers = [
  "redis.cache",
  "redis.cache.writes",
  "redis.event-log",
  "redis.idempotency",
  "redis.locks",
  "redis.logins",
  "redis.one-time",
  "redis.security",
  "redis.security.writes",
];

const spans = [
  "portcullis.cause",
  "portcullis.claim",
  "portcullis.code",
  "portcullis.expected",
  "portcullis.found",
  "portcullis.gate",
  "portcullis.guard",
  "portcullis.header",
  "portcullis.key",
  "portcullis.limit",
  "portcullis.policy",
  "portcullis.questions",
  "portcullis.reason",
  "portcullis.retry_after_seconds",
  "portcullis.store",
  "portcullis.window_seconds",
];

/** The fields of log lines. */
const logFields = [
  "afterMs",
  "at",
  "cause",
  "code",
  "detail",
  "err",
  "fault",
  "gate",
  "held",
  "markers",
  "maxValueSize",
  "missed",
  "namespace",
  "namesUser",
  "differences",
  "middleware",
  "part",
  "policy",
  "reason",
  "severity",
  "size",
  "status",
  "throttle",
];

/** The values of the field `code`, and of the findings of `gate.examine()`. */
const logCodes = [
  "store_in_process",
  "store_unreachable",
  "version_old",
  "replica",
  "eviction_policy",
  "cache_shared",
  "persistence_off",
  "clock_skew",
  "permission_missing",
  "tracking_refused",
  "listener_down",
  "cluster_mode",
  "cluster_incomplete",
  "client_options",
  "key_secret_default",
  "service_unnamed",
  "keys_missing",
  "keys_over_http",
  "proxies_trusted",
  "proxy_untrusted",
  "address_missing",
  "shared_issuer_taken",
  "refresh_reused",
  "refresh_repeated",
  "refresh_refused",
  "revocation_refused",
  "logout_refused",
  "unsaid_success",
  "outcome_failed",
  "frequent_success",
  "guard_missing",
  "policy_name_taken",
  "gate_in_handler",
  "policy_name_repeated",
  "denial_dropped",
  "gate_closed",
  "members_dropped",
];

describe("the names that must not change", () => {
  it("of Redis keys and channels, with their types", () => {
    const rows = sectionOf("docs/operations.md", "All keys and channels")
      .split("\n")
      .filter((line) => line.startsWith("| `"))
      .flatMap((line) => {
        const [, names = "", , type = ""] = line.split("|").map((cell) => cell.trim());
        return Array.from(names.matchAll(/`([^`]+)`/g), ([, pattern]) => [pattern, type]);
      });
    // test/docs/keys.test.ts compares that table with the keys that gates write.
    expect(rows).to.have.deep.members(keys);
  });

  it("of channels in node:diagnostics_channel", () => {
    expect(Object.values(events).map(({ name }) => name)).to.have.members(diagnosticsChannels);
  });

  it("of metrics", async () => {
    const gate = openGate({ redis: testRedisUrl(), prefix: "stable-names:" });
    const read = gate.metrics().map(({ name }) => name);
    expect(metrics).to.include.members(read);
    expect(literals(/^portcullis_[a-z_]+$/)).to.have.members(metrics);
    await gate.close();
  });

  it("of circuit breakers", async () => {
    const gate = openGate({ redis: testRedisUrl(), prefix: "stable-names:" });
    expect(gate.breakers.map(({ name }) => name)).to.have.members(breakers);
    await gate.close();
  });

  it("of spans and their attributes", () => {
    expect(literals(/^portcullis\.[a-z_]+$/, "opentelemetry.ts")).to.have.members(spans);
  });

  it("of the fields of log lines, and of their codes", () => {
    expect(loggedFields()).to.have.members(logFields);
    const known = new Set(literals(/^[a-z]+(_[a-z]+)*$/));
    expect(logCodes.filter((code) => !known.has(code))).to.deep.equal([]);
    expect(logCodes).to.include.members(findingCodes());
  });
});

const sources = readdirSync(join(root, "packages/core/src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => join(root, "packages/core/src", name))
  .map((path) => ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true));

function everyNode(file = ""): ts.Node[] {
  const nodes: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    nodes.push(node);
    ts.forEachChild(node, visit);
  };
  for (const source of sources) if (source.fileName.endsWith(file)) visit(source);
  return nodes;
}

/** The different string literals of core, or of one of its files, that match. */
function literals(pattern: RegExp, file?: string): string[] {
  const texts = everyNode(file).flatMap((node) =>
    ts.isStringLiteral(node) && pattern.test(node.text) ? [node.text] : [],
  );
  return [...new Set(texts)];
}

/** The names of the properties of every object that is given to `logger.warn()` or `logger.debug()`. */
function loggedFields(): string[] {
  const names = everyNode().flatMap((node) => {
    if (!ts.isCallExpression(node) || !/\blogger\??\.(warn|debug)$/i.test(node.expression.getText())) return [];
    const [fields] = node.arguments;
    if (fields === undefined || !ts.isObjectLiteralExpression(fields)) return [];
    return fields.properties.map(({ name }) => name?.getText() ?? "");
  });
  return [...new Set(names)];
}

function findingCodes(): string[] {
  const declarations = everyNode().filter(ts.isTypeAliasDeclaration);
  const union = declarations.find(({ name }) => name.text === "FindingCode")?.type.getText() ?? "";
  return Array.from(union.matchAll(/"([a-z_]+)"/g), ([, code = ""]) => code);
}
