import { readFileSync } from "node:fs";

/** A file of the web page, ready to send. */
export interface PageFile {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const types = { html: "text/html", css: "text/css", js: "text/javascript", svg: "image/svg+xml" } as const;

/** What the page may do: load its own scripts, style and icon, and talk to this service. Nothing else, and nobody may frame it. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const files = [
  "index.html",
  "app.css",
  "favicon.svg",
  "app.js",
  "answers.js",
  "lists.js",
  "words.js",
  "confirm.html",
  "confirm.js",
] as const;
/** What the page has in development only. */
const developmentFiles = ["development.js"] as const;

/** The files of the page by the path they are found at. In production nothing is left of what is for development. */
export function loadPage(production: boolean): ReadonlyMap<string, PageFile> {
  const names = production ? files : [...files, ...developmentFiles];
  return new Map(names.map((name) => [pathOf(name), load(name, production)]));
}

/** Pages are found without the ending of their file. */
function pathOf(name: string): string {
  return name === "index.html" ? "/" : `/${name.replace(/\.html$/, "")}`;
}

function load(name: string, production: boolean): PageFile {
  const text = readFileSync(new URL(`../public/${name}`, import.meta.url), "utf8");
  const kind = name.slice(name.lastIndexOf(".") + 1) as keyof typeof types;
  return {
    headers: {
      "Content-Type": `${types[kind]}; charset=utf-8`,
      "Cache-Control": "no-cache",
      "Content-Security-Policy": policy,
      "Referrer-Policy": "no-referrer",
      "X-Content-Type-Options": "nosniff",
    },
    body: production ? text.replace(/ *<!-- development -->[^]*?<!-- end of development -->\n/g, "") : text,
  };
}
