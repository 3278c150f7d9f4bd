import { channel } from "node:diagnostics_channel";
import type { Channel } from "node:diagnostics_channel";

/**
 * What Portcullis publishes on `node:diagnostics_channel`; nobody listening costs nothing.
 * Messages carry codes and counts, never tokens, keys or identifiers.
 *
 * | channel | message |
 * |---|---|
 * | `portcullis:denied` | `{ code, status, cause }`: a request was refused; `cause` is a short fixed phrase |
 * | `portcullis:degraded` | `{ part, policy, fault }`: the store could not answer and a policy decided instead |
 * | `portcullis:breaker` | `{ name, from, to }`: a circuit breaker changed its state |
 */
export const events: { readonly denied: Channel; readonly degraded: Channel; readonly breaker: Channel } = {
  denied: channel("portcullis:denied"),
  degraded: channel("portcullis:degraded"),
  breaker: channel("portcullis:breaker"),
};
