const cleaners: (() => unknown)[] = [];
let testing = false;

/** Done after the test that asks for it, whatever becomes of it; the last asked for is done first. Call it before asserting. */
export function cleanUp(clean: () => unknown): void {
  cleaners.push(clean);
}

/** The same for helpers that open things, which a hook before all tests may keep open for longer, and closes itself. */
export function cleanUpInTest(clean: () => unknown): void {
  if (testing) cleaners.push(clean);
}

/** For test/setup.ts, before each test and its hooks. */
export function beginTest(): void {
  testing = true;
}

/** For test/setup.ts, after each test and its hooks. One that fails keeps none of the others from being done. */
export async function endTest(): Promise<void> {
  testing = false;
  const failures: unknown[] = [];
  for (const clean of cleaners.splice(0).reverse()) {
    try {
      await clean();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, failures.map(String).join("\n"));
}
