import type { OutgoingHttpHeaders } from "node:http";
import type { BodyForm, Reply } from "./verdict.js";

/** A response that is about to be sent. */
export interface Outgoing {
  readonly status: number;
  /** Its fields, by their lower-case names. */
  readonly fields: OutgoingHttpHeaders;
  /** The fields that were set before the handler ran. */
  readonly before: OutgoingHttpHeaders;
  /** The whole body, if it is known before the first byte is sent. */
  readonly body: Uint8Array | undefined;
  /**
   * Has sending something thrown before? Then this may be the answer to that error, with fields and a status that belong to
   * what was not sent.
   */
  readonly afterError: boolean;
  readonly set: (name: string, value: string) => void;
}

/** A response whose handlers have returned, while middleware in front of the interceptor may still change it. */
export interface Returned extends Outgoing {
  /** Undefined for a body that cannot be given again. */
  readonly form: BodyForm | undefined;
}

/** The head of a response when it has been made: middleware may change it until then, also after a handler has ended. */
export interface Head {
  readonly status: number;
  /** As they are sent, by their lower-case names. */
  readonly fields: OutgoingHttpHeaders;
  /**
   * The fields as they reached the interceptor, where middleware behind it has waited for the head to change them, as
   * sessions do to set a cookie; `"unknown"` if something else is sent instead. Undefined where none has waited.
   */
  readonly reached: OutgoingHttpHeaders | "unknown" | undefined;
}

/** Sees a response on its way out, and may answer in its place. */
export interface Interceptor {
  /** Request fields that the handler must not see, because what they ask for is done here. */
  readonly hidden: readonly string[];
  /** A body of more bytes is not kept. */
  readonly maxBytes: number;
  /**
   * Must `begin` be called for a response that is never sent, too? Some frameworks, Koa 2 for one, send nothing where the
   * client has gone, although their handlers have done their work. @default false
   */
  readonly beginsUnsent?: boolean | undefined;
  /**
   * Is a response read, too, whose client has gone before it began? A handler that ends it without a status and a body is taken
   * for one that has noticed. @default false
   */
  readonly readsUnsent?: boolean | undefined;
  /**
   * Called once, before the first byte. A reply goes out instead of the response; `"notModified"` makes it a 304;
   * `"follow"` asks for the body, `"pass"` for nothing more.
   */
  begin(outgoing: Outgoing): Reply | "notModified" | "follow" | "pass";
  /**
   * Called before `begin` where the framework holds the response until its middleware has returned, as Koa does. A reply
   * takes the place of the response; `"follow"` asks for the body. Not called for a response that a handler sends itself.
   */
  returned?(response: Returned): Reply | "follow" | "pass";
  /** Called instead of `returned` where a handler has thrown, with the status of its error. A reply hides the error. */
  failed?(status: number): Reply | undefined;
  /**
   * Called once, after `begin`: when the head has been made, or with nothing when the response is over without one, since its
   * client has gone. Before or after `complete`.
   */
  headMade?(head: Head | undefined): void;
  /**
   * Called when sending throws before the head is made. The response that follows is the answer to that error: its head is not
   * shown to `headMade`.
   */
  sendingFailed?(): void;
  /**
   * Called when the handler has ended its response, unless it broke off or was replaced, with the whole body if that was
   * followed and not too large. The last bytes are sent when the returned promise settles; to the handler they are sent.
   */
  ending?(body: Uint8Array | undefined): Promise<unknown> | undefined;
  /** Called once, when the head of a response is sent and its body is not at its end, unless the response was replaced. */
  headSent(): void;
  /**
   * The whole body; undefined if it was too large, as soon as it is, or if sending has failed. Not called for a response that
   * breaks off, also where its handler ends it because of that.
   */
  complete(body: Uint8Array | undefined): void;
}

/** One interceptor on its response. */
export interface Interception {
  readonly interceptor: Interceptor;
  /** The fields of the response before the handler. */
  readonly before: OutgoingHttpHeaders;
  /** Has nothing been sent, or begun to be? */
  readonly isWaiting: boolean;
  /** Has a handler tried to send something, and failed? */
  readonly hasFailed: boolean;
  /** Gives the hidden fields back to the request, for middleware in front of the interceptor. */
  uncover(): void;
  /** Calls `begin` for a response that is never sent. */
  beginUnsent(): void;
  /** Calls `headMade` with nothing for a response that is never sent. */
  endUnsent(): void;
}
