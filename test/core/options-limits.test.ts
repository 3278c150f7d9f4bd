import { openGate } from "./support/gate.js";
import { expectOptionError } from "./support/option-error.js";

const limit = { name: "a", per: "ip", limit: 1, window: "1m" };

const wrongLimits: readonly (readonly [what: string, members: object, option: string, hint: string])[] = [
  ["no name", { name: undefined }, "name", "1 to 64 letters"],
  ["an empty name", { name: "" }, "name", "1 to 64 letters"],
  ["a name with quotes", { name: 'a"b' }, "name", "1 to 64 letters"],
  ["a name with a newline", { name: "a\r\nb" }, "name", "1 to 64 letters"],
  ["a name with a newline at its end", { name: "a\n" }, "name", "1 to 64 letters"],
  ["a name with a colon", { name: "a:b" }, "name", "1 to 64 letters"],
  ["a name with braces", { name: "{a}" }, "name", "1 to 64 letters"],
  ["a long name", { name: "n".repeat(65) }, "name", "1 to 64 letters"],
  ["a list as name", { name: ["a"] }, "name", "1 to 64 letters"],
  ["no per", { per: undefined }, "per", '"ip", "user" or a function'],
  ["per of a header", { per: "x-api-key" }, "per", '"ip", "user" or a function'],
  ["no limit", { limit: undefined }, "limit", "whole number"],
  ["a limit below zero", { limit: -1 }, "limit", "from 0 to"],
  ["half a limit", { limit: 0.5 }, "limit", "from 0 to"],
  ["a limit without end", { limit: Infinity }, "limit", "from 0 to"],
  ["a limit that is NaN", { limit: Number.NaN }, "limit", "from 0 to"],
  ["a limit of 1e21", { limit: 1e21 }, "limit", "from 0 to"],
  ["a limit as text", { limit: "100" }, "limit", "whole number"],
  ["a limit that is null", { limit: null }, "limit", "not null"],
  ["no window", { window: undefined }, "window", "duration"],
  ["a cost below zero", { cost: -5 }, "cost", "from 0 to"],
  ["a cost of NaN", { cost: Number.NaN }, "cost", "from 0 to"],
  ["a cost of 1.5", { cost: 1.5 }, "cost", "from 0 to"],
  ["a cost of 1e21", { cost: 1e21 }, "cost", "from 0 to"],
  ["a cost as text", { cost: "2" }, "cost", "whole number"],
  ["skip that is no function", { skip: true }, "skip", "function"],
  ["skip that is null", { skip: null }, "skip", "function"],
  ["precision about", { precision: "about" }, "precision", '"exact", "leased"'],
  ["precision true", { precision: true }, "precision", '"exact", "leased"'],
  ["onStoreError open", { onStoreError: "open" }, "onStoreError", '"local", "allow", "deny"'],
  ["onStoreError false", { onStoreError: false }, "onStoreError", '"local", "allow", "deny"'],
];

describe("a wrong rate limit fails at start-up and says what to write", () => {
  for (const [what, members, option, hint] of wrongLimits) {
    it(`a limit with ${what}, in limits and in limit()`, () => {
      const policy = { ...limit, ...members } as never;
      expectOptionError(() => openGate({ limits: [policy] }), `limits[0].${option}`, hint);
      expectOptionError(() => openGate({}).limit(policy), `limit().${option}`, hint);
    });
  }
});
