import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT, exportJWK, generateKeyPair } from "jose";
import type { CryptoKey, JWK } from "jose";
import { nowSeconds, testAudience } from "./tokens.js";

/** A fault of an issuer. */
export type IssuerTrouble =
  /** Connections are accepted and never answered. */
  | "stopped"
  /** The answer comes one byte at a time. */
  | "slow"
  | "huge"
  | "garbage"
  | "html"
  | "error"
  | "redirect"
  /** The metadata names another issuer. */
  | "impostor"
  /** A key set without keys. */
  | "empty"
  /** A key set of keys that must not be used: weak RSA, symmetric, private. */
  | "unusable";

interface SigningKey {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

/**
 * An identity provider on loopback with its own HTTP server: discovery, key set, rotation, and faults.
 */
export class TestIssuer {
  trouble: IssuerTrouble | undefined;
  /** Number of requests by path. */
  readonly fetches: Map<string, number> = new Map<string, number>();
  readonly #algorithm: string;
  #published: SigningKey[] = [];
  #signing: SigningKey | undefined;
  #server: Server | undefined;
  #port = 0;

  private constructor(algorithm: string) {
    this.#algorithm = algorithm;
  }

  static async start(algorithm = "RS256"): Promise<TestIssuer> {
    const issuer = new TestIssuer(algorithm);
    await issuer.rotate();
    await issuer.comeBack();
    return issuer;
  }

  /** Claim `iss` of its tokens, and the base URL of its metadata. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get jwksUri(): string {
    return `${this.url}/jwks`;
  }

  /** Signs a token with the current key, or with the key of this `kid`, also if it is no longer published. */
  async sign(
    claims: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const key = this.#signing;
    if (key === undefined) throw new Error("the issuer has no key");
    const iat = nowSeconds();
    const byDefault = { iss: this.url, aud: testAudience, sub: "alice", jti: randomUUID(), iat, exp: iat + 300 };
    return new SignJWT({ ...byDefault, ...claims })
      .setProtectedHeader({ alg: this.#algorithm, kid: key.kid, ...header })
      .sign(key.privateKey);
  }

  /** Creates a new key, which signs from now on. With `overlap` the old keys stay published. */
  async rotate({ overlap = false }: { readonly overlap?: boolean } = {}): Promise<void> {
    const { privateKey, publicKey } = await generateKeyPair(this.#algorithm, { extractable: true });
    const kid = randomUUID();
    const jwk = { ...(await exportJWK(publicKey)), kid, use: "sig", alg: this.#algorithm };
    this.#signing = { kid, privateKey, jwk };
    this.#published = [...(overlap ? this.#published : []), this.#signing];
  }

  /** Publishes a new key before it signs. Returns a function that begins to sign with it. */
  async announce(): Promise<() => void> {
    const old = this.#signing;
    await this.rotate({ overlap: true });
    const next = this.#signing;
    this.#signing = old;
    return () => (this.#signing = next);
  }

  /** Refuses connections from now on. */
  async goDown(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  /** Accepts connections again at the same address. */
  async comeBack(): Promise<void> {
    const server = createServer((req, res) => void this.#answer(req, res));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject).listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  close(): Promise<void> {
    return this.goDown();
  }

  async #answer({ url: path = "" }: IncomingMessage, res: ServerResponse): Promise<void> {
    this.fetches.set(path, (this.fetches.get(path) ?? 0) + 1);
    switch (this.trouble) {
      case "stopped":
        return;
      case "slow": {
        const timer = setInterval(() => res.write(" "), 20);
        res.once("close", () => clearInterval(timer));
        return;
      }
      case "huge":
        return void res.end(Buffer.alloc(4 * 1024 * 1024, " "));
      case "garbage":
        return void res.end('{"keys": [\u0000');
      case "html":
        return void res.writeHead(200, { "content-type": "text/html" }).end("<html>Sorry</html>");
      case "error":
        return void res.writeHead(500).end();
      case "redirect":
        return void res.writeHead(302, { location: `${this.url}/elsewhere` }).end();
      default:
        return void res.end(JSON.stringify(await this.#document(path)));
    }
  }

  async #document(path: string): Promise<object> {
    if (path !== "/jwks") {
      return { issuer: this.trouble === "impostor" ? "https://impostor.test" : this.url, jwks_uri: this.jwksUri };
    }
    if (this.trouble === "empty") return { keys: [] };
    if (this.trouble !== "unusable") return { keys: this.#published.map(({ jwk }) => jwk) };
    const weak = { kty: "RSA", kid: "weak", n: Buffer.alloc(128, 0xc5).toString("base64url"), e: "AQAB" };
    const leaked = this.#signing === undefined ? {} : await exportJWK(this.#signing.privateKey);
    return { keys: [weak, { kty: "oct", k: "c2VjcmV0" }, { ...leaked, kid: "leaked" }, 7, null, {}] };
  }
}
