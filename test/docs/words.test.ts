import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { readDocument, root, sectionOf } from "./documents.js";

/**
 * Words that engineers of the field know, by where they come from. A word with a meaning of its own in this repository
 * belongs into the glossary of docs/ARCHITECTURE.md instead.
 */
const fieldWords: Readonly<Record<string, string>> = {
  HTTP: `http body challenge chunk client condition cookie disconnect exchange field form header handler head json message
    metadata method middleware outgoing path port preflight prototype proxy query repeated reply request resource response
    route router serve server status stream target tls uri url address class classes`,
  "caching (RFC 9111)": `cache cached codec collapsing date directive entry fetch freeze freshness invalidation key purge query
    record replay reuse storable store stored storing tag validator waiter`,
  "tokens (RFC 6749, 7519, 9068, 9449)": `access account algorithm audience auth authenticate authentication authorize backchannel checkable claim
    compact asymmetric hmac credential device discovery dpop identifier identifying issue issuer jwk jwks jws jwt login logout mint nonce oauth
    possession private proof public refresh remote replay resource revocable revocation revoke secret session sign signing
    subject tenant thumbprint token use user validate verification verifier verify`,
  "rate limits": `allow block bucket client concurrency count counter deny fixed limit list quota rate settle sliding throttle
    window partition key policy policies`,
  "distributed systems": `acquire coordination idempotency idempotent data elected fence held leader leadership lease locked lost lua outage queue batch batcher breaker channel clock clocks cluster comparison connect deadline detector fault hash
    instance leased local lock loss manager monitor node operation replicated retry retries redis release script semaphore
    shared slot topology tracked tracking transport`,
  software: `adapter administration task architecture bound bounded call check choice code config context control core documentation
    duration error event factory format gate health identity index kind lib listener logger lookup memoize memory metric name named
    option outcome part policy portcullis problem reader reason register sample scope service setting source state statistics
    steady table telemetry opentelemetry test testing time timeout type unaugmented value warning writer`,
  verbs: `abort add adjust decorate adjustment apply begin bind clean cleanup compose create decide end examination examine fail get
    handle handling identify intercept issue keep repeat listening read resolve restore run running serving set show succeed try
    unblock wait watch write`,
  "adjectives and participles": `allowed answer aware denied ended expired fetched issued late like recent returned seen
    trustworthy unnamed unreadable`,
  "the small words of a language": `a all an and as at back behind by five for from in is it late of off on once only or own that
    the to top way what with`,
  "of the document itself": "concept folder glossary",
};

const glossary = [
  ...sectionOf("docs/ARCHITECTURE.md", "Glossary").matchAll(/^\| ([^|]+) \|/gm),
  ...sectionOf("docs/ARCHITECTURE.md", "Five concepts").matchAll(/^\* \*\*([^*]+)\*\*/gm),
].flatMap(([, term = ""]) => wordsOf(term));
const known = new Set([...glossary, ...Object.values(fieldWords).flatMap(wordsOf)]);

/** In lower case. `GetOrSetOptions`, `get-or-set.ts` and "Get or set" have the words get, or, set. */
function wordsOf(name: string): string[] {
  const words = name.replaceAll("OAuth", "Oauth").match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+/g) ?? [];
  return words.map((word) => word.toLowerCase());
}

/** The word and the words that it may be the plural of. */
function formsOf(word: string): string[] {
  return [word, word.replace(/s$/, ""), word.replace(/es$/, ""), word.replace(/ies$/, "y")];
}

/** The words of these names that no list has, each with its name. */
function unknownIn(names: readonly string[]): string[] {
  return names.flatMap((name) =>
    wordsOf(name)
      .filter((word) => !formsOf(word).some((form) => known.has(form)))
      .map((word) => `${word} (${name})`),
  );
}

function exportsOf(entry: string): string[] {
  const lists = readDocument(`packages/core/src/${entry}`).matchAll(/^export (?:type )?\{([^}]*)\}/gm);
  return Array.from(lists, ([, names = ""]) => names.split(","))
    .flat()
    .map((name) => name.trim().replace(/^.* as /, ""));
}

describe("every word is the field's, or stands in the glossary of docs/ARCHITECTURE.md,", () => {
  it("or is found out", () => {
    expect(unknownIn(["grumpy-cache", "LimitWizard", "Tokens of a wombat"])).to.deep.equal([
      "grumpy (grumpy-cache)",
      "wizard (LimitWizard)",
      "wombat (Tokens of a wombat)",
    ]);
  });

  for (const folder of ["core", "express", "koa", "socket.io"])
    it(`in the names of files and folders of packages/${folder}/src`, () => {
      const files = readdirSync(join(root, "packages", folder, "src"), { recursive: true, encoding: "utf8" });
      expect(unknownIn(files.map((file) => file.replace(/\.ts$/, "")))).to.deep.equal([]);
    });

  for (const entry of ["index.ts", "adapter.ts"])
    it(`in the exports of packages/core/src/${entry}`, () => {
      const names = exportsOf(entry);
      expect(names.length).to.be.greaterThan(30);
      expect(unknownIn(names)).to.deep.equal([]);
    });

  it("in the headings of docs/ARCHITECTURE.md", () => {
    const headings = Array.from(readDocument("docs/ARCHITECTURE.md").matchAll(/^#+ (.+)$/gm), ([, text = ""]) => text);
    expect(headings.length).to.be.greaterThan(4);
    expect(unknownIn(headings)).to.deep.equal([]);
  });
});
