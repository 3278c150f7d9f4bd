import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { errors } from "jose";
import { root, sectionOf } from "./documents.js";

const folders = [
  "auth/credentials.ts",
  "auth/claims.ts",
  "auth/access-token.ts",
  "auth/audience.ts",
  "auth/verifier.ts",
  "guard/guard.ts",
  "guard/revocation.ts",
  "guard/identify.ts",
  "guard/authorize.ts",
  "limits/partition.ts",
  "services.ts",
];
const source = folders.map((file) => readFileSync(join(root, "packages/core/src", file), "utf8")).join("\n");
const ofJose = Object.values(errors).map((error) => (error as { code?: unknown }).code);

describe("the causes that docs/errors.md explains", () => {
  const rows = sectionOf("docs/errors.md", "token_invalid")
    .split("\n")
    .filter((line) => line.startsWith("| ") && !line.startsWith("| cause"))
    .map((line) => line.split("|")[1] ?? "");
  const causes = rows.flatMap((cell) => cell.split(/`, |; /)).map((cause) => cause.replaceAll("`", "").trim());

  for (const cause of causes) {
    it(`may occur: ${cause}`, () => {
      if (cause.startsWith("ERR_")) expect(ofJose).to.include(cause);
      else expect(source).to.include(`"${cause}"`);
    });
  }
});
