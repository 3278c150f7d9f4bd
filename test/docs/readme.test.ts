import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { findFreePort, nowSeconds, signToken, testAuth, testSecret } from "@portcullis/testkit";
import { expect } from "chai";
import type { FakeGate, FakeOptions } from "../support/fake-gate.js";
import { fakeExchange, openGate, refuse } from "../support/fake-gate.js";
import { rejectionOf } from "../support/rejection.js";
import { readDocument, root, sectionOf, snippetsOf } from "./documents.js";

const readme = readDocument("README.md");
const rows = readme.split("\n").filter((line) => line.startsWith("| "));

interface Manifest {
  readonly engines: { readonly node: string };
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readDocument(`${folder}package.json`)) as Manifest;
}

/** The packages that come with these, by the lockfile: those at the root and those that are nested. */
function packagesWith(names: readonly string[]): Set<string> {
  const { packages } = JSON.parse(readDocument("package-lock.json")) as {
    packages: Readonly<Record<string, Manifest & { readonly resolved?: string; readonly link?: boolean }>>;
  };
  const found = new Set<string>();
  function add(name: string, from: string): void {
    const places = [`${from}/node_modules/${name}`, `node_modules/${name}`];
    const place = places.find((one) => packages[one] !== undefined);
    if (place === undefined) throw new Error(`the lockfile has no ${name}`);
    const entry = packages[place];
    if (found.has(place) || entry === undefined) return;
    found.add(place);
    const own = entry.link === true ? packages[entry.resolved ?? ""] : entry;
    for (const dependency of Object.keys(own?.dependencies ?? {})) add(dependency, place);
  }
  for (const name of names) add(name, "");
  return found;
}

/** The cells of the table of outages. */
const outageRows = sectionOf("README.md", "Why it is safe")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| while"))
  .map((line) => line.slice(2).split(" | "));

/** What happens at a gate that cannot reach Redis, by the first cells of that table. */
const outages: Readonly<Record<string, (gate: FakeGate) => Promise<void>>> = {
  async "signature, claims"(gate) {
    expect((await refuse(gate, await signToken({ exp: 1 }))).status).to.equal(401);
  },
  async revocation(gate) {
    expect((await refuse(gate, await signToken())).status).to.equal(503);
  },
  async "rate limits"(gate) {
    const { check } = gate.limit({ name: "one", per: "ip", limit: 1, window: "1m" });
    expect((await check(fakeExchange())).allowed).to.equal(true);
    expect(await check(fakeExchange())).to.include({ allowed: false, status: 429 });
  },
  async "sign-in attempts"(gate) {
    const { check } = gate.throttleLogin({ account: () => "alice", parallel: 10 });
    const verdicts = [];
    for (let attempt = 0; attempt < 4; attempt += 1) verdicts.push(await check(fakeExchange()));
    // The limit for account and address is 5.
    expect(verdicts.map(({ allowed }) => allowed)).to.deep.equal([true, true, false, false]);
    expect(verdicts.at(-1)).to.include({ status: 429 });
  },
  async cache(gate) {
    expect(await gate.cache.get("key")).to.equal(undefined);
    expect(await gate.cache.getOrSet({ key: "key" }, () => "made")).to.equal("made");
  },
  async "logout, deletion in the cache"(gate) {
    expect(await rejectionOf(gate.revocations.revoke({ jti: "a", expiresAt: nowSeconds() + 60 }))).to.include({
      status: 503,
    });
    expect(await rejectionOf(gate.sessions.revokeAll("alice"))).to.include({ status: 503 });
    expect(await rejectionOf(gate.cache.delete("key"))).to.include({ status: 503 });
  },
  async "start of the server"(gate) {
    await gate.close();
  },
};

describe("the README", () => {
  it("has at most 1,200 words, 45 rows of tables, one picture and one chart", () => {
    expect(readme.split(/\s+/).filter((word) => word !== "").length).to.be.at.most(1200);
    expect(rows.length).to.be.at.most(45);
    expect(Array.from(readme.matchAll(/!\[[^\]]+\]\(([^)]+)\)/g), ([, file]) => file)).to.deep.equal([
      "docs/request.svg",
      "bench/results/guard.svg",
    ]);
  });

  it("has pictures that are readable on light and on dark pages, with a text for those who do not see them", () => {
    for (const file of ["docs/request.svg", "bench/results/guard.svg"]) {
      const picture = readDocument(file);
      expect(picture).to.include("@media (prefers-color-scheme: dark)");
      expect(picture).to.match(/role="img" aria-label(ledby)?="[^"]+"/);
      const style = /<style>([^]*?)<\/style>/.exec(picture)?.[1] ?? "";
      const used = new Set(
        Array.from(picture.matchAll(/class="([^"]+)"/g), ([, names = ""]) => names.split(" ")).flat(),
      );
      const unknown = [...used].filter((name) => !style.includes(`.${name} `));
      expect(unknown, `classes of ${file} without a style`).to.deep.equal([]);
    }
  });

  it("shows twelve lines for Express and twelve for Koa", () => {
    for (const framework of ["Express", "Koa"]) {
      const [snippet] = snippetsOf("README.md").filter(({ code }) =>
        code.includes(`"@portcullis/${framework.toLowerCase()}"`),
      );
      expect(snippet?.code.split("\n").length, framework).to.be.at.most(12);
    }
  });

  it("names commands that package.json has", () => {
    const scripts = Object.keys(manifestOf("").scripts);
    const named = Array.from(readme.matchAll(/\bnpm (?:run )?(start|test|pack)\b/g), ([, script]) => script);
    expect(new Set(named)).to.deep.equal(new Set(["start", "test", "pack"]));
    expect(scripts).to.include.members([...new Set(named)]);
  });

  it("says the versions of Node and of frameworks that the packages accept", () => {
    for (const folder of ["", "packages/core/", "packages/express/", "packages/koa/"])
      expect(manifestOf(folder).engines.node).to.equal("^20.19.0 || >=22.12.0");
    expect(readme).to.include("Node 20.19 or 22.12 (or newer)");
    expect(manifestOf("packages/express/").peerDependencies).to.deep.equal({ express: "^4.18.0 || ^5.0.0" });
    expect(manifestOf("packages/koa/").peerDependencies).to.deep.equal({ koa: "^2.15.0 || ^3.0.0" });
    expect(readme).to.include("Express 4.18 or 5, Koa 2.15 or 3");
  });

  it("counts the packages that come with an adapter, and names those that core depends on", () => {
    for (const adapter of ["express", "koa"]) {
      const count = packagesWith([`@portcullis/${adapter}`]).size;
      expect(readme).to.include(`| packages | at most ${count} beside the framework: 2 of Portcullis, `);
    }
    const row = rows.find((line) => line.startsWith("| packages |")) ?? "";
    for (const name of Object.keys(manifestOf("packages/core/").dependencies ?? {})) expect(row).to.include(name);
  });

  it("names only choices for an outage that the options have", async () => {
    const table = sectionOf("README.md", "Why it is safe").split("\n");
    const choicesOf = (start: string): string[] => {
      const cell = table.find((line) => line.startsWith(`| ${start} |`))?.split("|")[3] ?? "";
      return Array.from(cell.matchAll(/"(\w+)"/g), ([, choice = ""]) => choice);
    };
    const auth: FakeOptions["auth"] = { secret: testSecret, algorithms: ["HS256"], issuer: "a", audience: "b" };
    const gate = openGate({ auth, revocation: { onStoreError: { graceMs: 1000 } } });
    const [ofRevocation, ofLimits, ofLogins] = ["revocation", "rate limits", "sign-in attempts"].map(choicesOf);
    expect([ofRevocation, ofLimits, ofLogins]).to.deep.equal([["allow"], ["allow", "deny"], ["deny"]]);
    for (const onStoreError of ofRevocation as "allow"[])
      await openGate({ auth, revocation: { onStoreError } }).close();
    for (const onStoreError of ofLimits as "allow"[])
      gate.limit({ name: onStoreError, per: "ip", limit: 1, window: "1m", onStoreError });
    for (const onStoreError of ofLogins as "deny"[]) gate.throttleLogin({ account: () => "a", onStoreError });
  });

  for (const [row] of outageRows)
    it(`is right about an outage: ${row}`, async () => {
      const gate = openGate({ redis: "redis://127.0.0.1:1", auth: testAuth });
      const show = outages[row ?? ""];
      if (show === undefined) throw new Error("show what happens in outages of this test");
      await show(gate);
    });

  it("leads to a page with every option of a library that people come from in one click", () => {
    const links = sectionOf("README.md", "Coming from another library");
    for (const library of ["express-rate-limit", "koa-ratelimit", "express-jwt", "koa-jwt", "passport", "NextAuth"])
      expect(links).to.match(new RegExp(`\\[[^\\]]*${library}[^\\]]*\\]\\(docs/migrate-[a-z-]+\\.md[#)]`));
  });
});

interface Step {
  readonly method: string;
  readonly path: string;
  readonly withToken: boolean;
  /** The status, and the code of a refusal, by framework. */
  readonly expected: Readonly<Record<string, readonly [status: number, code: string | undefined]>>;
}

/** The lines with curl under "Try it". */
const steps: readonly Step[] = Array.from(
  sectionOf("README.md", "Try it").matchAll(
    /^curl -i (?:--retry 9 --retry-connrefused )?(?:-X (\w+) )?localhost:3000(\S+)(.*?) +# (\d+)(?: (\w+))?(?: \(Koa: (\d+)\))?$/gm,
  ),
  ([, method = "GET", path = "", rest = "", status, code, koaStatus = status]) => ({
    method,
    path,
    withToken: rest.includes('-H "Authorization: Bearer $TOKEN"'),
    expected: { Express: [Number(status), code], Koa: [Number(koaStatus), code] },
  }),
);

describe("the quick starts of the README", function () {
  this.timeout(60_000);

  let directory: string;
  let token: string;
  let children: ChildProcess[];
  const words = ["--import", "tsx", "--conditions=@portcullis/source"];

  before(async () => {
    children = [];
    directory = await mkdtemp(join(root, "test", ".tmp-quick-start-"));
    const [snippet] = snippetsOf("README.md").filter(({ code }) => code.includes("createTokenFactory"));
    if (snippet === undefined) throw new Error("the README signs no token");
    expect(snippet.code.split("\n")).to.have.length(2);
    await writeFile(join(directory, "token.mjs"), snippet.code);
    const signing = await promisify(execFile)(process.execPath, [...words, join(directory, "token.mjs")], {
      cwd: root,
      env: { ...process.env, JWT_SECRET: testSecret },
    });
    token = signing.stdout.trim();
  });

  after(async () => {
    const ends = children.filter(isRunning).map((child) => once(child, "exit"));
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(ends);
    await rm(directory, { recursive: true, force: true });
  });

  it("are tried with a token that passes, with none, and with one that was logged out", () => {
    expect(steps.map(({ path, withToken, expected }) => [path, withToken, expected.Express?.[0]])).to.deep.equal([
      ["/me", false, 401],
      ["/me", true, 200],
      ["/logout", true, 204],
      ["/me", true, 401],
    ]);
  });

  for (const framework of ["Express", "Koa"]) {
    it(`${framework}: run as they stand, and answer every line under "Try it" as it says`, async () => {
      const base = await start(framework);
      for (const { method, path, withToken, expected } of steps) {
        const headers: Record<string, string> = withToken ? { authorization: `Bearer ${token}` } : {};
        const answer = await fetch(`${base}${path}`, { method, headers });
        const text = await answer.text();
        const { code, subject } = (text.startsWith("{") ? JSON.parse(text) : {}) as { code?: string; subject?: string };
        expect([answer.status, code], `${method} ${path}`).to.deep.equal(expected[framework]);
        if (answer.status === 200) expect(subject).to.equal("test-user");
        if (code === "credentials_required") expect(answer.headers.get("www-authenticate")).to.equal("Bearer");
        if (answer.status === 200) expect(answer.headers.get("ratelimit-policy")).to.equal('"ip";q=300;w=60');
      }
    });
  }

  /** Writes the snippet to a file, runs it and waits until it answers. */
  async function start(framework: string): Promise<string> {
    const code = /```ts\n([^]*?)```/.exec(sectionOf("README.md", framework))?.[1];
    if (code === undefined) throw new Error(`the section "${framework}" has no snippet`);
    const file = join(directory, `${framework}.ts`);
    await writeFile(file, code);
    const port = await findFreePort();
    const child = spawn(process.execPath, [...words, file], {
      cwd: root,
      env: { ...process.env, NODE_ENV: undefined, REDIS_URL: undefined, PORT: `${port}`, JWT_SECRET: testSecret },
      stdio: ["ignore", "inherit", "pipe"],
    });
    children.push(child);
    let complaints = "";
    child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
    const base = `http://127.0.0.1:${port}`;
    while (isRunning(child)) {
      const response = await fetch(base).catch(() => undefined);
      await response?.body?.cancel();
      if (response !== undefined) return base;
      await sleep(20);
    }
    throw new Error(`it ended: ${complaints}`);
  }
});

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}
