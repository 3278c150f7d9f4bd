import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import type { FakeOptions } from "./fake-gate.js";
import { openGate } from "./fake-gate.js";
import { rsa } from "../auth/support/mint.js";

/** Runs what must throw, and holds the error to what every option error promises. */
export function expectOptionError(run: () => unknown, option: string, hint: string | RegExp): void {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  expect(thrown, "nothing was thrown").to.be.instanceOf(Error);
  expect(thrown).to.satisfy((error: unknown) => error instanceof TypeError || error instanceof RangeError);
  const { message, code } = thrown as Error & { code?: string };
  expect(message).to.match(/^portcullis: /);
  expect(message.slice("portcullis: ".length)).to.satisfy((text: string) => text.startsWith(`${option} `), message);
  if (typeof hint === "string") expect(message).to.include(hint);
  else expect(message).to.match(hint);
  expect(message).to.match(/ \(see @portcullis\/core\/docs\/errors\.md#option_invalid\)$/);
  expect(code).to.equal("option_invalid");
}

/** What is wrong, the options of auth that replace good ones, the one that the message must name, and what it must say. */
export type AuthRow = readonly [what: string, members: object, option: string, hint: string | RegExp];

const bySecret = { secret: undefined, algorithms: undefined };
/** Other ways to say with which keys to verify, instead of the secret of the test options. */
export const sources = {
  byKey: { ...bySecret, publicKey: rsa.publicKey, algorithms: ["RS256"] },
  bySet: { ...bySecret, jwks: { keys: [rsa.publicKey.export({ format: "jwk" })] }, algorithms: ["RS256"] },
  byUri: { ...bySecret, jwksUri: "http://127.0.0.1:9/jwks" },
  none: { ...bySecret, issuer: undefined },
};

/** A test for each row. */
export function testAuthRows(rows: readonly AuthRow[]): void {
  for (const [what, members, option, hint] of rows) {
    it(what, () => {
      const auth = { ...testAuth, ...members } as FakeOptions["auth"];
      expectOptionError(() => openGate({ auth }), option, hint);
    });
  }
}
