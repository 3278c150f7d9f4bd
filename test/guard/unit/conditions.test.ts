import { testAuth } from "@portcullis/testkit";
import { expect } from "chai";
import { fakeExchange, openGate } from "../../support/fake-gate.js";
import { doubtful, odd } from "../../http/support/paths.js";

describe("when", () => {
  const gate = openGate({ auth: testAuth });

  async function passes(url: string, method = "GET"): Promise<boolean> {
    const middleware = gate.when({ path: "/admin/*", method: ["GET", "POST"] }, gate.guard());
    return (await middleware.check(fakeExchange({ url, method }))).allowed;
  }

  it("applies a check to requests that its condition matches, and to no others", async () => {
    for (const url of ["/admin/users", "/admin/", "/admin/a/b?c"]) expect(await passes(url), url).to.be.false;
    for (const url of ["/", "/public/a", "/administrator"]) expect(await passes(url), url).to.be.true;
    expect(await passes("/admin/users", "DELETE")).to.be.true;
  });

  it("applies a check to a method in every spelling by which routers find its handler", async () => {
    for (const method of ["POST", "post", "Post", "head", "get"])
      expect(await passes("/admin/users", method), method).to.be.false;
    expect(await passes("/admin/users", "delete")).to.be.true;
  });

  it("applies a check to every path that may mean a protected one", async () => {
    const escaped: string[] = [];
    for (const path of [...odd, ...odd.map((one) => one.replaceAll("public", "admin"))]) {
      if (await passes(path)) escaped.push(path);
    }
    expect(escaped).to.deep.equal([]);
  });

  it("applies a check in every spelling by which routers find a route unless told otherwise", async () => {
    for (const url of ["/Admin/users", "/ADMIN/users", "/admin", "/admin?x", "/Admin"])
      expect(await passes(url), url).to.be.false;
    const exact = gate.when({ path: "/admin" }, gate.guard());
    for (const url of ["/admin", "/admin/", "/Admin", "/ADMIN/", "/admin?x=1"]) {
      expect((await exact.check(fakeExchange({ url }))).allowed, url).to.be.false;
    }
  });

  it("applies a check to the path that a server behind may see after it removes path parameters or decodes", async () => {
    const exact = gate.when({ path: "/admin" }, gate.guard());
    const ways = [
      "/admin;",
      "/admin;x=1",
      "/admin;x=/",
      "/admin/;",
      "/adm%69n",
      "/%41dmin",
      "/admin%20",
      "/admin%c2%a0",
    ];
    const more = ["/admin%3bx", "/admin%3fx", "/admin%23x", "/adm\u0131n", "/%ef%bd%81dmin", "/admin;a;b?c"];
    const escaped: string[] = [];
    for (const url of [...ways, ...more]) if ((await exact.check(fakeExchange({ url }))).allowed) escaped.push(url);
    expect(escaped).to.deep.equal([]);
  });

  it("does not apply to unusual paths with only one meaning", async () => {
    const exact = gate.when({ path: "/admin" }, gate.guard());
    const others = [
      "/wiki/C%23",
      "/wiki/Who%3F",
      "/caf%C3%A9",
      "/a%20b",
      "/100%25",
      "/map;x=1",
      "/a|b",
      "/a[0]",
      "/a..b",
      "/~",
    ];
    for (const url of [...others, "/wiki/AC%EF%BC%8FDC"])
      expect((await exact.check(fakeExchange({ url }))).allowed, url).to.be.true;
    for (const url of doubtful) expect(await passes(url), url).to.be.true;
  });
});
