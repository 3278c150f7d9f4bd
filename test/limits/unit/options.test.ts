import { openGate } from "../../support/fake-gate.js";
import { expectOptionError } from "../../support/option-error.js";

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
  ["no per", { per: undefined }, "per", '"ip", "user"'],
  ["per of a header's name", { per: "x-api-key" }, "per", "{ header }"],
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
  ["leases of a sliding window", { precision: "leased", algorithm: "sliding-window" }, "precision", "fixed windows"],
  ["leases in shadow", { precision: "leased", shadow: true }, "precision", "fixed windows"],
  ["precision about", { precision: "about" }, "precision", '"exact", "leased"'],
  ["precision true", { precision: true }, "precision", '"exact", "leased"'],
  ["onStoreError open", { onStoreError: "open" }, "onStoreError", '"local", "allow", "deny"'],
  ["an empty per", { per: [] }, "per", "empty list"],
  ["per of nothing in a list", { per: ["ip", ""] }, "per[1]", "{ claim }"],
  ["per of a header and a claim", { per: { header: "a", claim: "b" } }, "per", "{ header }"],
  ["per of a header without a name", { per: { header: "" } }, "per.header", "non-empty"],
  ["per of a member that is none", { per: { cookie: "a" } }, "per.cookie", "not an option"],
  ["an algorithm that is none", { algorithm: "leaky-bucket" }, "algorithm", '"token-bucket"'],
  ["a window of half a second", { window: "500ms" }, "window", "whole seconds"],
  ["a window of 25 days", { window: "25d" }, "window", "duration of 1 to"],
  ["a burst of nothing", { algorithm: "token-bucket", burst: 0 }, "burst", "from 1"],
  ["a burst of a fixed window", { burst: 5 }, "burst", '"token-bucket"'],
  ["a cost of concurrency", { algorithm: "concurrency", cost: 2 }, "cost", "one slot"],
  ["settle of concurrency", { algorithm: "concurrency", settle: () => 1 }, "settle", "one slot"],
  ["countOnly of concurrency", { algorithm: "concurrency", countOnly: "failures" }, "countOnly", "one slot"],
  ["countOnly errors", { countOnly: "errors" }, "countOnly", '"failures", "successes"'],
  ["settle that is no function", { settle: 5 }, "settle", "function"],
  [
    "releaseAfter with nothing to release",
    { releaseAfter: "5s" },
    "releaseAfter",
    '"concurrency", settle or countOnly',
  ],
  ["releaseAfter beyond the window", { countOnly: "failures", releaseAfter: "2m" }, "releaseAfter", "1 to 60000 ms"],
  ["releaseAfter of nothing", { algorithm: "concurrency", releaseAfter: 0 }, "releaseAfter", "duration"],
  ["when of nothing", { when: {} }, "when", "a path, a method or both"],
  ["an allow list as text", { allow: "10.0.0.0/8" }, "allow", "a list of addresses"],
  ["a deny list of names", { deny: ["example.com"] }, "deny[0]", "192.0.2.1"],
  ["a network of too many bits", { deny: ["10.0.0.0/33"] }, "deny[0]", "10.0.0.0/8"],
  ["a network of a part of what is mapped", { allow: ["::ffff:10.0.0.0/95"] }, "allow[0]", "10.0.0.0/8"],
  ["a block without after", { block: { for: "1m" } }, "block.after", "whole number"],
  ["a block after none", { block: { after: 0, for: "1m" } }, "block.after", "from 1"],
  ["a block without end", { block: { after: 1 } }, "block.for", "duration"],
  ["a block that shrinks", { block: { after: 1, for: "1h", upTo: "1m" } }, "block.upTo", "not be shorter"],
  ["a shadow as text", { shadow: "yes" }, "shadow", "true or false"],
  ["onStoreError false", { onStoreError: false }, "onStoreError", '"local", "allow", "deny"'],
];

describe("a wrong rate limit fails at start-up with an error that shows the correct form", () => {
  for (const [what, members, option, hint] of wrongLimits) {
    it(`a limit with ${what}, in limits and in limit()`, () => {
      const policy = { ...limit, ...members } as never;
      expectOptionError(() => openGate({ limits: [policy] }), `limits[0].${option}`, hint);
      expectOptionError(() => openGate({}).limit(policy), `limit().${option}`, hint);
    });
  }
});
