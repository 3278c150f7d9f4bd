import { inspect } from "node:util";
import { expect } from "chai";

/** The reason that a promise is rejected with. A promise that resolves fails the test. */
export async function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  return expect.fail(`the promise resolved with ${inspect(value)}, and should have been rejected`);
}

/** Whether a promise is rejected, where either is right. */
export async function isRejected(promise: Promise<unknown>): Promise<boolean> {
  const [{ status }] = await Promise.allSettled([promise]);
  return status === "rejected";
}
