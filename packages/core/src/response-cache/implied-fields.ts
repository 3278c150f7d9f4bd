/**
 * Request fields from which frameworks and applications make up who they are: links, redirects, methods. They choose the
 * response whether it says so or not, so that nobody can leave a response made of their own in the place of all others.
 * In HTTP/2 the authority and the scheme are pseudo-fields (RFC 9113 8.3.1); a request may have `Host` besides.
 */
const exact: ReadonlySet<string> = new Set([
  ...["host", ":authority", ":scheme", "forwarded", "x-host", "x-http-host-override", "disguised-host", "x-scheme"],
  ...["x-url-scheme", "x-proto", "x-https", "x-arr-ssl", "front-end-https", "cf-visitor", "cloudfront-forwarded-proto"],
  ...["x-rewrite-url", "x-replaced-path", "x-waws-unencoded-url", "x-url", "x-request-uri", "x-uri", "base-url"],
  ...["x-script-name", "x-base-path", "x-base-url", "x-context-path"],
  ...["x-http-method-override", "x-http-method", "x-method-override"],
]);

/** Proxies and applications make up names of this form at will: X-Forwarded-Context, X-Original-Path. */
const families = /^(?:x-(?:envoy-)?(?:forwarded|original))(?:-|$)/;

/** Where a client is, and which request it is: these differ from request to request. */
const perRequest = /-(?:for|ip|addr|address|remote|request-id|trace-id)$/;

/** Does a request field of this lower-case name choose the response, whatever the response says? */
export function isTargetField(name: string): boolean {
  return exact.has(name) || (families.test(name) && !perRequest.test(name));
}
