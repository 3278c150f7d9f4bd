import type { TokenReader, TokenSource } from "./credentials.js";
import { checkObject, checkString, isList, optionError, stringsOrNone } from "../lib/validate.js";

/** A cookie that carries the token; see {@link AuthOptions.tokenFrom}. */
export interface CookieSource {
  readonly cookie: string;
  /**
   * Origins, besides the API's own and that of `publicUrl`, whose pages may use the cookie with unsafe methods, such as
   * `"https://app.example.com"`.
   */
  readonly origins?: readonly string[] | undefined;
}

export type TokenFrom<Raw> = "header" | CookieSource | TokenReader<Raw>;

export function resolveSources<Raw>(from: unknown, publicUrl: string | undefined): readonly TokenSource<Raw>[] {
  const list: readonly unknown[] = isList(from) ? from : [from];
  if (list.length === 0) throw optionError("auth.tokenFrom", "must not be an empty list");
  const own = publicUrl === undefined ? [] : [new URL(publicUrl).origin];
  return list.map((one) => resolveSource<Raw>(one, own));
}

function resolveSource<Raw>(from: unknown, own: readonly string[]): TokenSource<Raw> {
  if (from === "header") return { kind: "header" };
  if (typeof from === "function") return { kind: "function", read: from as TokenReader<Raw> };
  checkObject("auth.tokenFrom", from, ["cookie", "origins"]);
  const { cookie, origins = [] } = from as CookieSource;
  checkString("auth.tokenFrom.cookie", cookie);
  const allowed = stringsOrNone("auth.tokenFrom.origins", origins);
  const wrong = allowed.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin);
  if (wrong !== undefined)
    throw optionError("auth.tokenFrom.origins", 'must be origins such as "https://app.example.com"');
  return { kind: "cookie", name: cookie, origins: new Set([...own, ...allowed]) };
}
