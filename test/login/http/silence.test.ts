import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect } from "chai";
import { startRedis } from "@portcullis/testkit";
import { adapters } from "../../support/app.js";
import { cleanUp } from "../../support/clean-up.js";
import type { StartApp } from "../../support/every-gate.js";
import { startLogin, statuses } from "../../support/login.js";

const channels = ["portcullis:denied", "portcullis:degraded", "portcullis:breaker", "portcullis:store"];

for (const adapter of adapters) {
  it(`the login throttle on ${adapter.name} names nobody in logs, events, metrics and answers`, async () => {
    const said: string[] = [];
    const note = (...message: unknown[]) => void said.push(JSON.stringify(message));
    const listen = (message: unknown) => note(message);
    for (const channel of channels) subscribe(channel, listen);
    cleanUp(() => channels.forEach((channel) => unsubscribe(channel, listen)));
    const redis = await startRedis();
    cleanUp(() => redis.stop());
    const start: StartApp = (options = {}, rest = {}) =>
      adapter.start({
        options: { redis: redis.url, deadline: 100, logger: { debug: note, warn: note }, ...options },
        routes: {},
        ...rest,
      });
    const app = await startLogin(start);
    const attempt = async () => {
      const answer = await app.attempt("seeded-name@example.com", {
        password: "seeded-password",
        from: "198.51.100.77",
      });
      said.push(JSON.stringify(answer.headers), answer.text);
      return answer;
    };
    expect(await statuses(7, attempt)).to.deep.equal([401, 401, 401, 401, 401, 429, 429]);
    await redis.kill();
    expect(await statuses(7, attempt)).to.deep.equal([401, 401, 429, 429, 429, 429, 429]);
    await app.gate.logins
      .unblock({ account: "seeded-name@example.com" })
      .catch((error: unknown) => note(String(error)));
    note(app.gate.metrics());
    const all = said.join("\n");
    for (const word of ["attempts_exceeded", '"part":"login"', "redis.logins"]) expect(all).to.include(word);
    for (const seed of ["seeded-name", "seeded-password", "198.51.100.77"]) expect(all).to.not.include(seed);
  });
}
