import { Session } from "node:inspector/promises";

const intervalUs = 200;
const session = new Session();

/** Starts V8's sampling profiler in this process, when it is warm and nothing of its start-up is left to see. */
export async function start() {
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: intervalUs });
  await session.post("Profiler.start");
}

export async function stop() {
  const { profile } = await session.post("Profiler.stop");
  session.disconnect();
  return profile;
}
