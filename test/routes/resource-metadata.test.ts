import { expect } from "chai";
import { signToken, testAuth, testIssuer } from "@portcullis/testkit";
import { openGate } from "../support/fake-gate.js";
import { describeOnEveryGate } from "../support/every-gate.js";
import { send } from "../support/http.js";

const path = "/.well-known/oauth-protected-resource";

describeOnEveryGate("protected resource metadata (RFC 9728)", (start) => {
  it("is answered before the guard, and named in every challenge", async () => {
    const { url } = await start(
      { publicUrl: "https://api.example.com", auth: { ...testAuth, realm: "api" } },
      {
        use: (gate) => [
          gate.routes.resourceMetadata({ scopes: ["orders:read"], name: "Orders" }),
          gate.guard(),
          gate.requireScopes("orders:read"),
        ],
      },
    );
    const answer = await send(`${url}${path}`);
    expect(answer.status).to.equal(200);
    expect(answer.headers["content-type"]).to.match(/^application\/json/);
    expect(answer.json).to.deep.equal({
      resource: "https://api.example.com",
      authorization_servers: [testIssuer],
      scopes_supported: ["orders:read"],
      bearer_methods_supported: ["header"],
      resource_name: "Orders",
    });
    const head = await send(`${url}${path}?x=1`, { method: "HEAD" });
    expect([head.status, head.text, head.headers["content-length"]]).to.deep.equal([
      200,
      "",
      String(Buffer.byteLength(answer.text)),
    ]);
    const named = `resource_metadata="https://api.example.com${path}"`;
    for (const token of [undefined, "nonsense", await signToken()]) {
      const { status, headers } = await send(`${url}/me`, token === undefined ? {} : { token });
      expect(status).to.equal(token?.includes(".") === true ? 403 : 401);
      expect(headers["www-authenticate"])
        .to.match(/^Bearer realm="api"/)
        .and.include(named);
    }
    expect((await send(`${url}${path}`, { method: "POST" })).status).to.equal(401);
    expect((await send(`${url}${path}/other`)).status).to.equal(401);
  });

  it("goes by the path of publicUrl", async () => {
    const { url } = await start(
      { publicUrl: "https://example.com/orders/" },
      { use: (gate) => [gate.routes.resourceMetadata(), gate.guard()] },
    );
    expect((await send(`${url}${path}`)).status).to.equal(401);
    const { status, json } = await send(`${url}${path}/orders`);
    expect([status, (json as { resource: string }).resource]).to.deep.equal([200, "https://example.com/orders"]);
  });
});

describe("the options of resourceMetadata()", () => {
  it("are checked at start-up", async () => {
    const gate = openGate({ publicUrl: "https://api.example.com", auth: testAuth });
    for (const wrong of [{ scope: ["a"] }, { scopes: "a" }, { scopes: [""] }, { name: 1 }, { documentation: "" }])
      expect(() => gate.routes.resourceMetadata(wrong as never)).to.throw(TypeError, /resourceMetadata\(\)/);
    await gate.close();
    const nobody = openGate({ publicUrl: "https://api.example.com" });
    expect(() => nobody.routes.resourceMetadata()).to.throw(TypeError, /auth is required/);
    await nobody.close();
    const nowhere = openGate({ auth: testAuth });
    expect(() => nowhere.routes.resourceMetadata()).to.throw(TypeError, /publicUrl is required/);
    await nowhere.close();
  });

  it("need a publicUrl that clients can trust", () => {
    for (const publicUrl of [
      "api.example.com",
      "http://api.example.com",
      "https://u:p@example.com",
      "https://a.b/?x",
      "https://a.b/#x",
      "",
      7,
    ])
      expect(() => openGate({ publicUrl: publicUrl as string, auth: testAuth })).to.throw(TypeError, /publicUrl/);
  });
});
