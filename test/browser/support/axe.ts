import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "playwright-core";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Violation {
  readonly id: string;
  readonly impact: string | null;
  readonly nodes: readonly { readonly html: string }[];
}

interface Results {
  readonly passes: readonly unknown[];
  readonly violations: readonly Violation[];
}

/** What axe-core calls serious or critical about a page, in light and in dark. */
export async function findViolations(page: Page): Promise<string[]> {
  const found: string[] = [];
  // Evaluated by the browser's own tools, which the content security policy does not concern.
  await page.evaluate(source);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { passes, violations } = await page.evaluate<Results>("axe.run()");
    if (passes.length === 0) throw new Error("axe has examined nothing");
    for (const { id, impact, nodes } of violations)
      if (impact === "serious" || impact === "critical")
        found.push(`${id} (${colorScheme}) at ${nodes.map(({ html }) => html).join(" ")}`);
  }
  return found;
}
