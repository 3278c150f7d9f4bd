import type { Auth } from "@portcullis/core";

/** The type of `socket.data` behind `secure()`, for the fourth type parameter of `Server`. */
export interface SocketData {
  /** The verified token of the socket. Never sent to another process. */
  readonly auth: Auth;
}
