import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect } from "chai";
import { root } from "./documents.js";

interface Addresses {
  readonly repository: string;
  readonly homepage: string;
  readonly issues: string;
}

interface Manifest {
  readonly name: string;
  readonly repository?: { readonly url: string; readonly directory: string };
}

const { ADDRESSES, manifestOf } = (await import(pathToFileURL(join(root, "tools/addresses.mjs")).href)) as {
  ADDRESSES: Addresses;
  manifestOf: (folder: string, addresses?: Addresses) => string;
};
const { PUBLISHED } = (await import(pathToFileURL(join(root, "tools/pack.mjs")).href)) as { PUBLISHED: string[] };

/** Addresses of a code host and of the registry that may be somebody else's. */
const claimed = "(git(hub|lab)\\.com|bitbucket\\.org)[/:]portcullis|npmjs\\.com/(package|org)/@?portcullis";

describe("the addresses of the project", () => {
  it("are found out where they claim a name that may be somebody else's", () => {
    for (const address of [
      "https://github.com/portcullis/x",
      "git@github.com:Portcullis/x",
      "npmjs.com/package/@portcullis/x",
    ])
      expect(address).to.match(new RegExp(claimed, "i"));
    expect("https://github.com/panva/jose").not.to.match(new RegExp(claimed, "i"));
  });

  it("claim no such name, in no file that git tracks or would", () => {
    const own = (Object.values(ADDRESSES) as string[]).filter((address) => address !== "");
    const words = ["grep", "--untracked", "-I", "-i", "-h", "-E", claimed, "--", ".", ":!test/docs/addresses.test.ts"];
    // In a container the repository may belong to another user.
    const { stdout, status } = spawnSync("git", ["-c", "safe.directory=*", ...words], { cwd: root, encoding: "utf8" });
    expect(status).to.be.oneOf([0, 1]);
    const lines = stdout.split("\n").map((line) => own.reduce((rest, address) => rest.replaceAll(address, ""), line));
    expect(lines.filter((line) => new RegExp(claimed, "i").test(line))).to.deep.equal([]);
  });

  for (const folder of PUBLISHED) {
    it(`are in the manifest of packages/${folder}; if not: node tools/addresses.mjs`, () => {
      expect(readFileSync(join(root, "packages", folder, "package.json"), "utf8")).to.equal(manifestOf(folder));
    });
  }

  it("once they are known, name the folder of each package in its repository", () => {
    const repository = "https://code.example/team/gate";
    const manifest = JSON.parse(manifestOf("koa", { repository, homepage: "", issues: "" })) as Manifest;
    expect(manifest.repository).to.deep.equal({ type: "git", url: `git+${repository}.git`, directory: "packages/koa" });
    expect(manifest.name).to.equal("@portcullis/koa");
    expect(manifest).not.to.have.any.keys("homepage", "bugs");
  });
});
