import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { onResponseEnd } from "@portcullis/core";
import { expect } from "chai";
import { streamEndings } from "../../examples/express-api/src/live.js";
import { cleanUpInTest } from "../support/clean-up.js";
import { until } from "../support/until.js";

describe("the event stream of the examples", () => {
  it("stops listening when its connection drops, also where it waits behind another response", async () => {
    let [requests, listening] = [0, 0];
    const gate = {
      sessions: {
        onRevoked() {
          listening += 1;
          return () => void (listening -= 1);
        },
      },
      verify: () => Promise.resolve({ allowed: true }),
    };
    const auth = { principal: "anna", token: "a.b.c", expiresAt: Date.now() / 1000 + 60 };
    const server = createServer((_req, res) => {
      requests += 1;
      // The first is never answered.
      if (requests > 1) streamEndings(res, auth, gate, onResponseEnd);
    });
    cleanUpInTest(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3));
    await until(() => requests === 3);
    expect(listening).to.equal(2);
    socket.destroy();
    await until(() => listening === 0);
  });
});
