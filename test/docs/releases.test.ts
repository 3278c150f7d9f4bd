import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { readDocument, root } from "./documents.js";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const workspaces = ["packages", "examples"].flatMap((folder) =>
  readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${folder}/${name}`),
);

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

/** The versions of all workspaces, and those of ours that they depend on. */
function versionsIn(directory: string): string[] {
  return workspaces.flatMap((workspace) => {
    const { version, dependencies = {} } = readManifest(join(directory, workspace));
    const ours = Object.entries(dependencies).filter(([name]) => name.startsWith("@portcullis/"));
    return [version, ...ours.map(([, wanted]) => wanted)];
  });
}

describe("a release", function () {
  this.timeout(60_000);
  const { version } = readManifest(join(root, "packages/core"));

  it("has one version for all packages and examples, which depend on exactly this one", () => {
    expect([...new Set(versionsIn(root))]).to.deep.equal([version]);
  });

  it("stands in the changelog, below what comes next", () => {
    const headings = Array.from(readDocument("CHANGELOG.md").matchAll(/^## \[([^\]]+)\]/gm), ([, name]) => name);
    expect(headings.slice(0, 2)).to.deep.equal(["Unreleased", version]);
  });

  describe("that follows", () => {
    let copy: string;

    before(() => {
      copy = mkdtempSync(join(tmpdir(), "portcullis-release-"));
      for (const file of ["package.json", "package-lock.json", "CHANGELOG.md", ".npmrc", ".changeset"])
        cpSync(join(root, file), join(copy, file), { recursive: true });
      for (const workspace of workspaces) {
        mkdirSync(join(copy, workspace), { recursive: true });
        cpSync(join(root, workspace, "package.json"), join(copy, workspace, "package.json"));
      }
      const write = (name: string, kind: string, sentence: string): void => {
        writeFileSync(join(copy, ".changeset", `${name}.md`), `---\n"@portcullis/${kind}\n---\n\n${sentence}\n`);
      };
      for (const name of readdirSync(join(copy, ".changeset")))
        if (name.endsWith(".md") && name !== "README.md") rmSync(join(copy, ".changeset", name));
      write("one", 'core": minor', "Something new\nin two lines.");
      write("two", 'koa": patch', "Something mended.");
      const git = (...words: string[]): Buffer =>
        execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.org", ...words], { cwd: copy });
      git("init", "--quiet", "--initial-branch=main");
      git("add", ".");
      git("commit", "--quiet", "--message=Begin");
      execFileSync(process.execPath, [join(root, "tools/next-version.mjs"), copy], { stdio: "pipe" });
    });
    after(() => rmSync(copy, { recursive: true, force: true }));

    const next = `0.${Number(version.split(".")[1]) + 1}.0`;

    it("gives all packages and examples the version of the largest change", () => {
      expect([...new Set(versionsIn(copy))]).to.deep.equal([next]);
    });

    it("moves what is unreleased and the sentences of the changesets into the changelog", () => {
      const text = readFileSync(join(copy, "CHANGELOG.md"), "utf8");
      const today = new Date().toISOString().slice(0, 4);
      const [, , section = ""] = text.split(/^## /m);
      expect(section).to.match(new RegExp(`^\\[${next}\\] - ${today}-\\d\\d-\\d\\d\n`));
      expect(section).to.contain("### Added\n\n- Something new in two lines.\n");
      expect(section).to.contain("### Fixed\n\n- Something mended.\n");
      expect(text).to.contain("## [Unreleased]\n\n## [");
      expect(text).to.contain(`## [${version}]`);
    });

    it("uses the changesets up, and writes no changelog into packages", () => {
      expect(readdirSync(join(copy, ".changeset")).sort()).to.deep.equal(["README.md", "config.json"]);
      for (const workspace of workspaces)
        expect(readdirSync(join(copy, workspace)).filter((name) => name !== "node_modules")).to.deep.equal([
          "package.json",
        ]);
    });

    it("keeps the lockfile valid and free of registries", () => {
      const lockfile = readFileSync(join(copy, "package-lock.json"), "utf8");
      const { packages } = JSON.parse(lockfile) as { packages: Record<string, { version?: string }> };
      expect(workspaces.map((workspace) => packages[workspace]?.version)).to.deep.equal(workspaces.map(() => next));
      expect(lockfile).to.not.contain('"resolved": "http');
    });
  });
});

describe("the page on support", () => {
  it("names every line of Node and of Redis that the workflow tests, and every compiler", () => {
    const workflow = readFileSync(join(root, ".github/workflows/ci.yml"), "utf8");
    const [, nodes = ""] = /^ {8}node: \[([^\]]+)\]/m.exec(workflow) ?? [];
    const tested = Array.from(readDocument("docs/support.md").matchAll(/\| (\d+) \| April \d{4}/gm), ([, one]) => one);
    expect(tested).to.deep.equal(nodes.split(", "));
    const [, stores = ""] = /^ {8}store: \[([^\]]+)\]/m.exec(workflow) ?? [];
    const majors = (kind: string): string[] =>
      Array.from(stores.matchAll(new RegExp(`${kind}:(\\d+)`, "g")), ([, one = ""]) => one);
    expect(readDocument("docs/support.md")).to.match(
      new RegExp(`^\\| Redis \\|.*\\| ${majors("redis").join(", ")} \\|`, "m"),
    );
    expect(readDocument("docs/support.md")).to.match(
      new RegExp(`^\\| Valkey \\|.*\\| ${majors("valkey").join(", ")} \\|`, "m"),
    );
    const compilers = /const ALL = \[([^\]]+)\]/.exec(readFileSync(join(root, "tools/packages.mjs"), "utf8"))?.[1];
    expect(readDocument("docs/support.md")).to.contain(`| ${compilers?.replaceAll('"', "") ?? ""} |`);
  });
});
