import type { Challenges } from "../guard/challenges.js";
import type { ResolvedAuth } from "../auth/options.js";
import type { Check } from "../request/state.js";
import { checkObject, checkString, optionError } from "../lib/validate.js";
import { answerAt, readMethods, replyJson } from "./endpoint.js";

/** Members of the metadata that the gate does not know itself (RFC 9728 2). */
export interface ResourceMetadataOptions {
  /** `authorization_servers`: the issuers of tokens for this API. @default the issuers of `auth` */
  readonly authorizationServers?: readonly string[] | undefined;
  /** `scopes_supported`. @default left out */
  readonly scopes?: readonly string[] | undefined;
  /** `resource_name`, a name to show to users. @default left out */
  readonly name?: string | undefined;
  /** `resource_documentation`, a URL. @default left out */
  readonly documentation?: string | undefined;
}

const wellKnown = "/.well-known/oauth-protected-resource";

/** Serves the protected resource metadata of an API (RFC 9728), and puts its URL into the challenges of the gate. */
export function resourceMetadata<Raw>(
  options: ResourceMetadataOptions,
  auth: ResolvedAuth<Raw> | undefined,
  publicUrl: string | undefined,
  challenges: Challenges,
): Check<Raw> {
  checkObject("resourceMetadata()", options, ["authorizationServers", "scopes", "name", "documentation"]);
  if (auth === undefined) throw optionError("auth", "is required for routes.resourceMetadata()");
  if (publicUrl === undefined) throw optionError("publicUrl", "is required for routes.resourceMetadata()");
  const { authorizationServers = auth.scope.known, scopes, name, documentation } = options;
  checkStrings("resourceMetadata().authorizationServers", authorizationServers);
  if (scopes !== undefined) checkStrings("resourceMetadata().scopes", scopes);
  if (name !== undefined) checkString("resourceMetadata().name", name);
  if (documentation !== undefined) checkString("resourceMetadata().documentation", documentation);
  const { origin, pathname } = new URL(publicUrl);
  const path = `${wellKnown}${pathname === "/" ? "" : pathname}`;
  const reply = replyJson(
    200,
    {
      resource: publicUrl,
      ...(authorizationServers.length === 0 ? {} : { authorization_servers: authorizationServers }),
      ...(scopes === undefined ? {} : { scopes_supported: scopes }),
      bearer_methods_supported: auth.sources.some(({ kind }) => kind === "header") ? ["header"] : [],
      ...(name === undefined ? {} : { resource_name: name }),
      ...(documentation === undefined ? {} : { resource_documentation: documentation }),
      ...(auth.dpop === undefined
        ? {}
        : {
            dpop_signing_alg_values_supported: auth.dpop.algorithms,
            dpop_bound_access_tokens_required: auth.dpop.required,
          }),
    },
    [["Cache-Control", "public, max-age=3600"]],
  );
  challenges.announce(`${origin}${path}`);
  return answerAt({ methods: readMethods, path, answer: () => reply });
}

function checkStrings(option: string, value: unknown): asserts value is readonly string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === "string" && one !== "")) return;
  throw optionError(option, "must be a list of non-empty strings");
}
