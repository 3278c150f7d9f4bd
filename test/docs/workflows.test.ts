import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { load } from "js-yaml";
import { root } from "./documents.js";

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface Job {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly environment?: string;
  readonly "timeout-minutes"?: number;
  readonly steps: readonly Step[];
}

interface Workflow {
  readonly permissions?: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const folder = join(root, ".github", "workflows");
const files = readdirSync(folder).filter((name) => name.endsWith(".yml"));
const scripts = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> })
  .scripts;

/** Actions that are not named by a commit, with the version in a comment. */
function findLoose(text: string): string[] {
  return text
    .split("\n")
    .filter((line) => /^\s*(- )?uses:/.test(line))
    .filter((line) => !/^\s*(- )?uses: [\w.-]+\/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line))
    .map((line) => line.trim());
}

/** Scripts and files of this repository that a command names and that do not exist. */
function findMissing(command: string): string[] {
  const named = [
    ...Array.from(command.matchAll(/\bnpm run ([\w:-]+)/g), ([, name = ""]) => ({ name, exists: name in scripts })),
    ...Array.from(command.matchAll(/\bnpm (test|start)\b/g), ([, name = ""]) => ({ name, exists: name in scripts })),
    ...Array.from(command.matchAll(/(?:^|\s)((?:tools|bench|\.ci)\/[\w./-]+)/g), ([, name = ""]) => ({
      name,
      exists: existsSync(join(root, name)),
    })),
  ];
  return named.filter(({ exists }) => !exists).map(({ name }) => name);
}

describe("the workflows", () => {
  it("are found out where they name an action by a tag, or a script that does not exist", () => {
    const digest = "0123456789abcdef0123456789abcdef01234567";
    const text = `- uses: a/b@v5\n- uses: a/b/c@${digest} # v1.2.3\n  uses: a/b@${digest}\n`;
    expect(findLoose(text)).to.deep.equal(["- uses: a/b@v5", `uses: a/b@${digest}`]);
    expect(findMissing("npm run nonsense -- x && npm test && .ci/run && tools/nothing.mjs")).to.deep.equal([
      "nonsense",
      "tools/nothing.mjs",
    ]);
  });

  for (const file of files)
    describe(file, () => {
      const text = readFileSync(join(folder, file), "utf8");
      const workflow = load(text) as Workflow;
      const jobs = Object.entries(workflow.jobs);
      const steps = jobs.flatMap(([, job]) => job.steps);

      it("names every action by its commit, and says the version", () => {
        expect(steps.some(({ uses }) => uses !== undefined)).to.equal(true);
        expect(findLoose(text)).to.deep.equal([]);
      });

      it("names one commit for each version of an action", () => {
        const uses = Array.from(text.matchAll(/uses: ([\w.-]+\/[\w.-]+)\S*@(\w+) # (\S+)/g), (match) => match.slice(1));
        const versions = new Set(uses.map((parts) => parts.join(" ")));
        expect(versions.size).to.equal(new Set(uses.map(([action]) => action)).size);
      });

      it("runs scripts that exist", () => {
        const commands = steps.flatMap(({ run, with: inputs }) => [run, inputs?.script, inputs?.version]);
        const named = commands.filter((command) => typeof command === "string");
        expect(named.flatMap(findMissing)).to.deep.equal([]);
      });

      it("may write nothing that a job does not ask for, and leaves no token behind in the work tree", () => {
        expect(Object.values(workflow.permissions ?? { all: "write" })).to.not.include("write");
        const checkouts = steps.filter(({ uses }) => uses?.startsWith("actions/checkout@"));
        expect(checkouts.filter((step) => step.with?.["persist-credentials"] !== false)).to.deep.equal([]);
      });

      it("ends each job after a time", () => {
        expect(jobs.filter(([, job]) => job["timeout-minutes"] === undefined).map(([name]) => name)).to.deep.equal([]);
      });

      it("knows no secret, and runs no code of a stranger with more rights", () => {
        expect(text).to.not.match(/secrets\.|pull_request_target|workflow_run/);
        // Titles, branches and messages are chosen by strangers: a shell must not see them as code.
        const commands = steps.flatMap(({ run = "" }) =>
          Array.from(run.matchAll(/\$\{\{([^}]*)\}\}/g), ([, at = ""]) => at),
        );
        expect(commands.map((words) => words.trim()).filter((words) => !words.startsWith("matrix."))).to.deep.equal([]);
      });
    });

  it("let one job prove to npm who publishes, and that job installs and builds nothing", () => {
    const provers = files.flatMap((file) => {
      const { jobs } = load(readFileSync(join(folder, file), "utf8")) as Workflow;
      return Object.entries(jobs)
        .filter(([, { permissions = {} }]) => permissions["id-token"] === "write")
        .map(([name, job]) => ({ file, name, job }));
    });
    expect(provers.map(({ file, name }) => `${file} ${name}`)).to.deep.equal(["release.yml publish"]);
    const [prover] = provers;
    expect(prover?.job.environment).to.equal("npm");
    const commands = prover?.job.steps.flatMap(({ run }) => run ?? []);
    expect(commands).to.deep.equal(["node tools/publish.mjs tarballs"]);
  });

  it("run a script that may be run", () => {
    expect(statSync(join(root, ".ci", "run")).mode & 0o111).to.not.equal(0);
  });
});

describe("the updates of dependencies", () => {
  it("look at npm, at the workflows, and at each Dockerfile", () => {
    interface Update {
      readonly "package-ecosystem": string;
      readonly directory?: string;
      readonly directories?: readonly string[];
    }
    const { updates } = load(readFileSync(join(root, ".github", "dependabot.yml"), "utf8")) as { updates: Update[] };
    const places = updates.flatMap(({ "package-ecosystem": kind, directory, directories = [directory ?? ""] }) =>
      directories.map((place) => `${kind} ${place}`),
    );
    const images = readdirSync(join(root, "examples"))
      .filter((name) => existsSync(join(root, "examples", name, "Dockerfile")))
      .map((name) => `docker /examples/${name}`);
    expect(images.length).to.equal(2);
    expect(places.sort()).to.deep.equal(["npm /", "github-actions /", ...images].sort());
  });
});

describe("the forms for issues", () => {
  const forms = join(root, ".github", "ISSUE_TEMPLATE");

  for (const file of readdirSync(forms).filter((name) => name !== "config.yml"))
    it(`${file} has a name, a description, and fields with labels and ids of their own`, () => {
      interface Field {
        readonly type: string;
        readonly id?: string;
        readonly attributes: { readonly label?: string; readonly value?: string };
      }
      const form = load(readFileSync(join(forms, file), "utf8")) as Record<string, unknown> & { body: Field[] };
      expect(form).to.include.keys("name", "description", "labels", "body");
      const fields = form.body.filter(({ type }) => type !== "markdown");
      expect(fields.length).to.be.greaterThan(1);
      for (const { attributes } of fields) expect(attributes.label).to.be.a("string");
      const ids = fields.map(({ id }) => id);
      expect(new Set(ids).size).to.equal(fields.length);
      expect(ids).to.not.include(undefined);
    });

  it("are the only way, and a vulnerability has another", () => {
    const config = load(readFileSync(join(forms, "config.yml"), "utf8")) as Record<string, unknown>;
    expect(config.blank_issues_enabled).to.equal(false);
    expect(readFileSync(join(forms, "bug.yml"), "utf8")).to.contain("SECURITY.md");
  });
});
