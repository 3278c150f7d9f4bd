import { expect } from "chai";
import { assert, property, record, option, string, jsonValue } from "fast-check";
import {
  formatEvent,
  formatPosition,
  formatRetry,
  heartbeat,
} from "../../../packages/core/src/realtime/event-format.js";

interface Parsed {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** The algorithm of WHATWG HTML 9.2.6 in short, with the ids that a client has after each block. */
function parse(text: string): { events: Parsed[]; lastId: string; retry: number | undefined } {
  const events: Parsed[] = [];
  let [lastId, event, retry]: [string, string, number | undefined] = ["", "", undefined];
  let data: string[] = [];
  for (const line of text.split(/\r\n|\r|\n/)) {
    if (line === "") {
      if (data.length > 0) events.push({ id: lastId, event: event === "" ? "message" : event, data: data.join("\n") });
      [event, data] = ["", []];
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") data.push(value);
    else if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) retry = Number(value);
  }
  return { events, lastId, retry };
}

describe("the format of a stream of events", () => {
  it("is read by a client as it was written, whatever the names and the data are", () => {
    const events = record({
      id: option(string(), { nil: undefined }),
      event: option(string(), { nil: undefined }),
      data: jsonValue(),
    });
    assert(
      property(events, (one) => {
        const text = formatEvent(one);
        const breaks = /[\0\r\n]/.test(`${one.id ?? ""}${one.event ?? ""}`);
        if (breaks) {
          expect(text).to.equal(undefined);
          return;
        }
        const { id = "", event, data } = one;
        const name = event === undefined || event === "" ? "message" : event;
        expect(parse(text ?? "").events).to.deep.equal([{ id, event: name, data: JSON.stringify(data) }]);
      }),
    );
  });

  it("has the data in one line, with line breaks of every kind in it", () => {
    const text = formatEvent({ data: { text: "a\nb\rc\u2028d\u2029e" } }) ?? "";
    expect(text.split(/\r\n|\r|\n/)).to.have.lengthOf(3);
    expect(JSON.parse(parse(text).events[0]?.data ?? "")).to.deep.equal({ text: "a\nb\rc\u2028d\u2029e" });
  });

  it("lets nobody write fields or events of their own through an id or a name", () => {
    const injection = "1\ndata: forged\n\n";
    expect(formatEvent({ id: injection, data: 1 })).to.equal(undefined);
    expect(formatEvent({ event: injection, data: 1 })).to.equal(undefined);
    expect(formatEvent({ event: "a\rdata: forged", data: 1 })).to.equal(undefined);
    expect(formatPosition(injection)).to.equal("");
  });

  it("has no text for data that is not JSON", () => {
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    for (const data of [undefined, () => 1, 1n, circle]) expect(formatEvent({ data })).to.equal(undefined);
  });

  it("sets the id and the time of a client without an event", () => {
    const { events, lastId, retry } = parse(formatRetry(2000) + formatPosition("7-0-abc") + heartbeat);
    expect({ events, lastId, retry }).to.deep.equal({ events: [], lastId: "7-0-abc", retry: 2000 });
  });
});
