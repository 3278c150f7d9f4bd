import type { ResourceMetadataOptions } from "./resource-metadata.js";

/** Middleware that answers paths of its own and lets all other requests pass: `app.use(gate.routes.resourceMetadata())`. */
export interface Routes<Middleware> {
  /**
   * Tells clients which authorization servers and scopes this API knows (RFC 9728), at
   * `/.well-known/oauth-protected-resource` followed by the path of `publicUrl`. From then on every challenge of the gate
   * names that address in its parameter `resource_metadata`. Needs `publicUrl` and `auth`.
   */
  resourceMetadata(options?: ResourceMetadataOptions): Middleware;
}
