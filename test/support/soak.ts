/**
 * How often a test repeats what is a race: once in `npm test`; twice in each of the ten runs of `npm run test:soak`, twenty
 * times in all. `SOAK=20 node tools/test.mjs <file>` does so in one.
 */
export const rounds: number = Number(process.env.SOAK ?? 1);

export const isSoak: boolean = process.env.SOAK !== undefined;
