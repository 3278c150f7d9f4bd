import { expect } from "chai";
import { openRenewals } from "../../../packages/core/src/cache/generations.js";
import { LocalResponses } from "../../../packages/core/src/response-cache/local-responses.js";
import type { LocalLookup } from "../../../packages/core/src/response-cache/response-store.js";
import { ResponseStore } from "../../../packages/core/src/response-cache/response-store.js";
import { tagNamed, tagOfPath } from "../../../packages/core/src/response-cache/tags.js";
import { cacheChannel } from "../../../packages/core/src/store/ports/cache.js";
import type { ChannelListener, Channels } from "../../../packages/core/src/store/ports/channels.js";
import { Telemetry } from "../../../packages/core/src/telemetry/telemetry.js";
import { cacheKeys, FakeCacheStore } from "../../cache/support/cache-process.js";
import { silentLogger } from "../../support/logger.js";
import { storedResponse } from "../support/freshness.js";

/** Messages between the processes of a test, in the hands of the test. */
class TestChannels implements Channels {
  readonly listeners: ChannelListener[] = [];
  readonly gaps: (() => void)[] = [];

  publish(): Promise<void> {
    return Promise.resolve();
  }

  subscribe(channel: string, listener: ChannelListener, onGap: () => void): () => void {
    expect(channel).to.equal(cacheChannel);
    this.listeners.push(listener);
    this.gaps.push(onGap);
    return () => undefined;
  }

  isAlive(): boolean {
    return true;
  }

  tell(message: string, own = false): void {
    for (const listener of this.listeners) listener(message, own);
  }
}

const ttlMs = 5000;

function openProcess(bounds: { readonly entries?: number; readonly bytes?: number } = {}) {
  const store = new FakeCacheStore();
  const channels = new TestChannels();
  const monotonic = (): number => store.clock.ms;
  const renewals = openRenewals({ store, telemetry: new Telemetry(), logger: silentLogger });
  const { entries = 100, bytes = 1_000_000 } = bounds;
  const local = { entries, bytes, ttlMs, channels };
  const responses = new ResponseStore({ store, keys: cacheKeys, onFault: () => undefined, renewals, monotonic, local });
  return { store, channels, responses };
}

const tag = tagNamed("a");
const tagKey = cacheKeys.cacheGeneration("t:a");

function lookup(name: string): LocalLookup {
  const variant = (vary: readonly string[]): string => (vary.length === 0 ? name : `${name}-variant`);
  return { primary: name, text: `text ${name}`, variant, variantText: variant, tags: [tag, tagOfPath(`/${name}`)] };
}

/** Makes a response, so that the next request finds it in the store. */
async function make(responses: ResponseStore, name: string, store: FakeCacheStore, body = name): Promise<void> {
  const start = await responses.find(lookup(name));
  const { generations } = start;
  const made = { ...storedResponse, body: Buffer.from(body), vary: [], generations, storeMs: store.clock.ms };
  await responses.keep(lookup(name), made, 600, start);
}

/** Reads a response from the store, as a hit does, and keeps it in process. */
async function read(responses: ResponseStore, name: string): Promise<void> {
  const found = await responses.find(lookup(name));
  if (found.response === undefined) throw new Error("it is not in the store");
  responses.keepLocally(lookup(name), found.response, found);
}

function bodyOf(responses: ResponseStore, name: string): string | undefined {
  const kept = responses.findLocally(lookup(name));
  return kept === undefined ? undefined : Buffer.from(kept.response.body).toString();
}

describe("a response in process", () => {
  it("is used until its time is over, and then the store is asked again", async () => {
    const { store, responses } = openProcess();
    await make(responses, "x", store);
    expect(bodyOf(responses, "x")).to.equal(undefined);
    await read(responses, "x");
    store.clock.ms += ttlMs - 1;
    expect(bodyOf(responses, "x")).to.equal("x");
    store.clock.ms += 1;
    expect(bodyOf(responses, "x")).to.equal(undefined);
  });

  it("is gone with a purge of any of its tags: in this process at once, elsewhere with the message", async () => {
    const { store, channels, responses } = openProcess();
    const path = cacheKeys.cacheEntry("response-path", "", tagOfPath("/x"));
    const ways = [
      () => void responses.purge(tag),
      () => void responses.purge(tagOfPath("/x")),
      () => channels.tell(`${tagKey} d`),
      () => channels.tell(`${path} d`),
    ];
    for (const purge of ways) {
      await make(responses, "x", store);
      await read(responses, "x");
      expect(bodyOf(responses, "x")).to.equal("x");
      purge();
      expect(bodyOf(responses, "x"), String(purge)).to.equal(undefined);
      // The store has it by then.
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  it("stays with messages about other things, of this process, and of unknown kinds", async () => {
    const { store, channels, responses } = openProcess();
    await make(responses, "x", store);
    await read(responses, "x");
    const other = cacheKeys.cacheGeneration("t:other");
    const value = cacheKeys.cacheEntry("shared", "", "x");
    for (const message of [`${other} d`, `${value} d`, `${tagKey} f`, `${tagKey} ?`, tagKey, "", " d"])
      channels.tell(message);
    channels.tell(`${tagKey} d`, true);
    expect(bodyOf(responses, "x")).to.equal("x");
  });

  it("is not kept if a purge or a gap in the messages came while it was read", async () => {
    const { store, channels, responses } = openProcess();
    await make(responses, "x", store);
    await read(responses, "x");
    for (const meanwhile of [() => channels.tell(`${tagKey} d`), () => channels.gaps[0]?.()]) {
      const found = await responses.find(lookup("x"));
      meanwhile();
      if (found.response !== undefined) responses.keepLocally(lookup("x"), found.response, found);
      expect(bodyOf(responses, "x"), String(meanwhile)).to.equal(undefined);
      await read(responses, "x");
      expect(bodyOf(responses, "x")).to.equal("x");
    }
  });

  it("gives way to a newer one of this process, also if the older one is just being read", async () => {
    const { store, responses } = openProcess();
    await make(responses, "x", store, "old");
    await read(responses, "x");
    const older = await responses.find(lookup("x"));
    await make(responses, "x", store, "new");
    expect(bodyOf(responses, "x")).to.equal(undefined);
    if (older.response !== undefined) responses.keepLocally(lookup("x"), older.response, older);
    expect(bodyOf(responses, "x")).to.equal(undefined);
    await read(responses, "x");
    expect(bodyOf(responses, "x")).to.equal("new");
  });

  it("is gone with a purge that was forgotten because there were too many", async () => {
    const { store, channels, responses } = openProcess();
    await make(responses, "x", store);
    await read(responses, "x");
    channels.tell(`${tagKey} d`);
    await read(responses, "x");
    for (let index = 0; index < 10_001; index += 1) channels.tell(`${cacheKeys.cacheGeneration(`t:t${index}`)} d`);
    expect(bodyOf(responses, "x")).to.equal(undefined);
  });

  it("is one of a bounded number, whose bodies, fields and keys together stay below the bound", () => {
    const channels = new TestChannels();
    const bytes = 200_000;
    const local = new LocalResponses({ entries: 50, bytes, ttlMs, channels, isTagKey: () => true, monotonic: () => 0 });
    function fill(count: number, keyLength: number, bodyLength: number, fieldLength: number): number {
      const texts = Array.from({ length: count }, (_, index) => String(index).padEnd(keyLength, "k"));
      for (const text of texts) {
        const body = Buffer.alloc(bodyLength, "b");
        const fields = [["x-field", "v".repeat(fieldLength)]] as const;
        const response = { ...storedResponse, body, fields, vary: [] };
        local.keep({ text, variantText: text, response, keys: [], askedAt: 0, purge: local.purges });
      }
      return texts.filter((text) => local.get(text) !== undefined).length;
    }
    expect(fill(100, 10, 10, 10)).to.equal(50);
    expect(fill(100, 10, 20_000, 10)).to.be.within(1, bytes / 20_000);
    expect(fill(100, 20_000, 10, 10)).to.be.within(1, bytes / 20_000);
    expect(fill(100, 10, 10, 20_000)).to.be.within(1, bytes / 20_000);
    // Larger than all of it.
    expect(fill(1, 10, bytes, 10)).to.equal(0);
  });

  it("holds no memory of the buffers that it was read with", () => {
    const channels = new TestChannels();
    const local = new LocalResponses({
      entries: 5,
      bytes: 1e6,
      ttlMs,
      channels,
      isTagKey: () => true,
      monotonic: () => 0,
    });
    const body = Buffer.from("a small body");
    expect(body.buffer.byteLength).to.be.above(1000);
    const read = { text: "x", variantText: "x", response: { ...storedResponse, body, vary: [] }, keys: [], askedAt: 0 };
    local.keep({ ...read, purge: local.purges });
    const kept = local.get("x");
    if (kept === undefined || !("response" in kept)) throw new Error("it is not kept");
    expect(kept.response.body.buffer.byteLength).to.equal(body.byteLength);
  });
});
