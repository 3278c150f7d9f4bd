import type { TokenCookies } from "./token-types.js";
import type { ResolvedCookies } from "./cookie-options.js";

export function createTokenCookies(options: ResolvedCookies): TokenCookies {
  const { access, refresh, refreshPath, sameSite, secure } = options;
  const attributes = `; HttpOnly${secure ? "; Secure" : ""}; SameSite=${sameSite}`;

  function cookie(name: string, value: string, path: string, maxAge: number): string {
    return `${name}=${value}; Path=${path}; Max-Age=${Math.max(0, Math.floor(maxAge))}${attributes}`;
  }

  return {
    write({ accessToken, expiresIn, refreshToken, refreshExpiresIn }) {
      const cookies = [cookie(refresh, refreshToken, refreshPath, refreshExpiresIn)];
      if (access !== undefined) cookies.unshift(cookie(access, accessToken, "/", expiresIn));
      return cookies;
    },
    clear() {
      const cookies = [cookie(refresh, "", refreshPath, 0)];
      if (access !== undefined) cookies.unshift(cookie(access, "", "/", 0));
      return cookies;
    },
    readRefresh(header = "") {
      const values = header
        .split(";")
        .map((pair) => pair.trim())
        .filter((pair) => pair.startsWith(`${refresh}=`))
        .map((pair) => pair.slice(refresh.length + 1).replace(/^"(.*)"$/, "$1"));
      return values.length === 1 && values[0] !== "" ? values[0] : undefined;
    },
  };
}
