/**
 * Runs a check, prints one line about it, and lets the process end with 1 if it failed.
 *
 * @param {string} what
 * @param {() => unknown} check Throws if something is wrong.
 * @returns {Promise<boolean>} Whether it passed.
 */
export async function report(what, check) {
  const start = Date.now();
  try {
    await check();
    console.log(`ok      ${what} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
    return true;
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAILED  ${what}: ${error.message}`);
    return false;
  }
}
