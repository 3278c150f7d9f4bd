import { readFileSync } from "node:fs";

/** A file of the web page, ready to send. */
export interface PageFile {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const types = { html: "text/html", css: "text/css", js: "text/javascript" } as const;

/** What the page may do: load its own script and style, and talk to this service. Nothing else, and nobody may frame it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** The files of the page by the path they are found at. */
export const page: ReadonlyMap<string, PageFile> = new Map([
  ["/", load("index.html", "html")],
  ["/app.css", load("app.css", "css")],
  ["/app.js", load("app.js", "js")],
  ["/confirm", load("confirm.html", "html")],
  ["/confirm.js", load("confirm.js", "js")],
]);

function load(name: string, kind: keyof typeof types): PageFile {
  return {
    headers: {
      "Content-Type": `${types[kind]}; charset=utf-8`,
      "Cache-Control": "no-cache",
      "Content-Security-Policy": policy,
      "Referrer-Policy": "no-referrer",
      "X-Content-Type-Options": "nosniff",
    },
    body: readFileSync(new URL(`../public/${name}`, import.meta.url), "utf8"),
  };
}
