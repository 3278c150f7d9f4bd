import { nowSeconds, testAudience } from "@portcullis/testkit";
import { SignJWT } from "jose";
import type { AnyGate, AnyOptions, TestAdapter } from "./app.js";
import { cleanUp } from "./clean-up.js";
import { silentLogger } from "./logger.js";

const partnerSecret = "the secret of partners, 32 bytes or more";

/** The issuer of a second group of users. */
export const partnerIssuer = "https://partners.test";

/** Their tokens come in a header of their own, so that a request may carry one of each issuer. */
export const partnerAuth: NonNullable<AnyOptions["auth"]> = {
  ...{ secret: partnerSecret, algorithms: ["HS256"], issuer: partnerIssuer, audience: testAudience },
  tokenFrom: ({ headers }) => String(headers["x-partner"] ?? ""),
};

/** A token of a partner, for the header `x-partner`. */
export async function signPartnerToken(claims: object): Promise<string> {
  const payload = { iss: partnerIssuer, aud: testAudience, jti: "partner", exp: nowSeconds() + 300, ...claims };
  return new SignJWT(payload).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(partnerSecret));
}

/** A gate without an application, to stand beside the gate of one. It is closed after the test. */
export function openGate(adapter: TestAdapter, options: Partial<AnyOptions>): AnyGate {
  const gate = adapter.createGate({ redis: "memory", logger: silentLogger, ...options });
  cleanUp(() => gate.close());
  return gate;
}
