import { expect } from "chai";
import { readDocument } from "./documents.js";

interface Manifest {
  readonly main: string;
  readonly types: string;
  readonly typesVersions?: { readonly "*": Readonly<Record<string, readonly string[]>> };
  readonly exports: Readonly<Record<string, string | Readonly<Record<"types" | "default", string>>>>;
}

const manifestOf = (folder: string) => JSON.parse(readDocument(`packages/${folder}/package.json`)) as Manifest;

function entriesOf({ exports }: Manifest): [name: string, entry: { types: string; default: string }][] {
  return Object.entries(exports).flatMap(([name, entry]) => (typeof entry === "string" ? [] : [[name, entry]]));
}

describe("the entries of a package", () => {
  for (const folder of ["core", "express", "koa", "socket.io"]) {
    it(`have types also where TypeScript does not read exports, as with node10 (${folder})`, () => {
      const manifest = manifestOf(folder);
      const [root, ...others] = entriesOf(manifest);
      expect([root?.[1].default, root?.[1].types]).to.deep.equal([manifest.main, manifest.types]);
      const fallbacks = others.map(([name, { types }]) => [name.slice(2), [types]]);
      expect(Object.entries(manifest.typesVersions?.["*"] ?? {})).to.deep.equal(fallbacks);
    });
  }

  for (const folder of ["express", "koa"]) {
    it(`include those of core, so that an application names one package alone (${folder})`, () => {
      const names = entriesOf(manifestOf(folder)).map(([name]) => name);
      // The entry `adapter` is for packages such as this one.
      const ofCore = entriesOf(manifestOf("core")).map(([name]) => name);
      expect(names).to.include.members(ofCore.filter((name) => name !== "./adapter"));
      for (const name of ["testing", "opentelemetry"])
        expect(readDocument(`packages/${folder}/src/${name}.ts`)).to.include(
          `export * from "@portcullis/core/${name}";`,
        );
    });
  }
});
