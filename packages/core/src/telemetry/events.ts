import { channel } from "node:diagnostics_channel";
import type { Channel } from "node:diagnostics_channel";

/**
 * The channels of `node:diagnostics_channel` on which Portcullis publishes. Without a subscriber a message costs nothing.
 * Messages carry codes and counts, never tokens, keys or identifiers. Each has a member `gate`: the name of its gate.
 *
 * | channel | message |
 * |---|---|
 * | `portcullis:verdict` | `{ code, status, durationMs, cause, detail }`: a middleware decided; `code` is "allowed", "answered" or that of a refusal, which has a cause and a detail |
 * | `portcullis:denied` | `{ code, status, cause, detail }`: a request was refused; `cause` is a short fixed phrase, `detail` a DenialDetail |
 * | `portcullis:limited` | `{ policy, algorithm, outcome }`: a request was over a limit; `outcome` is "refused", "blocked" or "shadow" |
 * | `portcullis:degraded` | `{ part, policy, fault, outcome }`: the store could not answer and a policy decided instead |
 * | `portcullis:breaker` | `{ name, from, to }`: a circuit breaker changed its state |
 * | `portcullis:store` | `{ store, questions, durationMs, fault }`: a round trip to the store, answered or not |
 * | `portcullis:cache` | `{ namespace, outcome }`: a read of the cache; `outcome` is "memo", "local", "store", "stale" or "miss" |
 * | `portcullis:cache-factory` | `{ namespace, outcome, durationMs }`: a factory of `getOrSet` has ended; "made" or "failed" |
 * | `portcullis:cache-invalidation` | `{ outcome, fault }`: an invalidation of the cache did not reach Redis ("missed"), reached it later ("repeated"), or was given up ("dropped") |
 * | `portcullis:login` | `{ throttle, warning }`: a login throttle may be used wrongly; `warning` is "unsaid_success", "outcome_failed" or "frequent_success" |
 * | `portcullis:lock` | `{ outcome }`: a call for a lock has ended, or a lock was lost; `outcome` is "acquired", "held", "timeout", "aborted", "overloaded", "failed" or "lost" |
 * | `portcullis:leader` | `{ outcome }`: this process became the leader ("elected"), "resigned", or "lost" the leadership |
 * | `portcullis:one-time` | `{ outcome, fault }`: a call about a one-time value; `outcome` is "issued", "consumed", "peeked", "refused", "revoked" or "failed" |
 * | `portcullis:idempotency` | `{ outcome }`: a request with an Idempotency-Key came, or its handler ended; the outcomes are those of the metric `portcullis_idempotency_total` |
 * | `portcullis:connection` | `{ kind, outcome }`: a connection was opened, refused, or has ended; `outcome` is "opened", or a reason of the metric `portcullis_connections_ended_total` |
 * | `portcullis:channel` | `{ outcome, fault, reason }`: a message of a channel of the application was "published" or "failed" (with `fault`), or messages are missing ("gap", with `reason`) |
 * | `portcullis:refresh` | `{ code, afterMs, cause }`: a refresh token got its successor again after `tokens.overlap` ("refresh_repeated", so long after its replacement), ended its session ("refresh_reused"), or was refused for a `cause` ("refresh_refused") |
 * | `portcullis:logout` | `{ outcome, cause }`: an OpenID provider reported a logout; "ended", "refused" (`cause` says what the logout token lacked), or "unavailable" |
 * | `portcullis:data-lost` | `{}`: Redis has lost data, so revoked tokens may be accepted again |
 */
export const events: {
  readonly verdict: Channel;
  readonly denied: Channel;
  readonly limited: Channel;
  readonly degraded: Channel;
  readonly breaker: Channel;
  readonly storeCall: Channel;
  readonly cacheRead: Channel;
  readonly cacheFactory: Channel;
  readonly cacheInvalidation: Channel;
  readonly login: Channel;
  readonly lock: Channel;
  readonly leader: Channel;
  readonly oneTime: Channel;
  readonly idempotency: Channel;
  readonly connection: Channel;
  readonly channel: Channel;
  readonly refresh: Channel;
  readonly logout: Channel;
  readonly dataLost: Channel;
} = {
  verdict: channel("portcullis:verdict"),
  denied: channel("portcullis:denied"),
  limited: channel("portcullis:limited"),
  degraded: channel("portcullis:degraded"),
  breaker: channel("portcullis:breaker"),
  storeCall: channel("portcullis:store"),
  cacheRead: channel("portcullis:cache"),
  cacheFactory: channel("portcullis:cache-factory"),
  cacheInvalidation: channel("portcullis:cache-invalidation"),
  login: channel("portcullis:login"),
  lock: channel("portcullis:lock"),
  leader: channel("portcullis:leader"),
  oneTime: channel("portcullis:one-time"),
  idempotency: channel("portcullis:idempotency"),
  connection: channel("portcullis:connection"),
  channel: channel("portcullis:channel"),
  refresh: channel("portcullis:refresh"),
  logout: channel("portcullis:logout"),
  dataLost: channel("portcullis:data-lost"),
};
