// What the answers say about themselves: status, cache and limits.
import { fieldOf, renderList } from "./lists.js";
import { describeWait } from "./words.js";

const find = (id) => document.getElementById(id);
const mostAnswers = 7;
const names = { ip: "Requests from this address", user: "Requests of this user", orders: "New orders" };

/** The newest first. */
let answers = [];
let count = 0;
/** Limits by name. Each is as the last answer that named it said. */
const limits = new Map();

setInterval(showLimits, 1000);

/** Notes the answer to a request of the page, and how long it took. */
export function noteAnswer(method, path, response, tookMs) {
  count += 1;
  const answer = {
    id: String(count),
    request: `${method} ${path.replace(/[?#].*$/, "")}`,
    status: response.status,
    detail: [describeSource(response), `${Math.max(1, Math.round(tookMs))} ms`, describeRetry(response)]
      .filter((text) => text !== undefined)
      .join(", "),
  };
  answers = [answer, ...answers].slice(0, mostAnswers);
  renderList(find("answers"), answers, {
    idOf: ({ id }) => id,
    template: find("answer"),
    update(element, { request, status, detail }) {
      element.dataset.kind = status < 400 ? "good" : status < 500 ? "refused" : "fault";
      fieldOf(element, "status").textContent = String(status);
      fieldOf(element, "request").textContent = request;
      fieldOf(element, "detail").textContent = detail;
    },
  });
  readLimits(response);
}

/** Whether an answer came from the cache; undefined if it does not say. */
export function describeSource(response) {
  const status = response.headers.get("cache-status");
  if (status === null) return undefined;
  return status.includes("; hit") ? "hit" : "miss";
}

function describeRetry(response) {
  const seconds = Number(response.headers.get("retry-after") ?? 0);
  return seconds > 0 ? `try again in ${describeWait(seconds)}` : undefined;
}

/** Another user may sign in now. */
export function forgetAnswers() {
  answers = [];
  limits.clear();
  find("answers").replaceChildren();
  find("limits").replaceChildren();
}

/** RateLimit: "ip";r=299;t=42, with RateLimit-Policy: "ip";q=300;w=60. */
function readLimits({ headers }) {
  const states = parseItems(headers.get("ratelimit"));
  for (const [name, { q: limit }] of parseItems(headers.get("ratelimit-policy"))) {
    const { r: left, t: seconds = 0 } = states.get(name) ?? {};
    if (left !== undefined) limits.set(name, { name, limit, left, endsAt: Date.now() + seconds * 1000 });
  }
  showLimits();
}

function parseItems(field) {
  const items = new Map();
  for (const [, name, rest] of (field ?? "").matchAll(/"([^"]*)"([^,]*)/g)) {
    const parameters = [...rest.matchAll(/;(\w+)=(\d+)/g)].map(([, key, value]) => [key, Number(value)]);
    items.set(name, Object.fromEntries(parameters));
  }
  return items;
}

function showLimits() {
  if (find("account").hidden) return;
  renderList(find("limits"), [...limits.values()], {
    idOf: ({ name }) => name,
    template: find("limit"),
    update(element, { name, limit, left, endsAt }) {
      const seconds = Math.ceil((endsAt - Date.now()) / 1000);
      const remaining = seconds > 0 ? left : limit;
      const label = names[name] ?? name;
      const meter = element.querySelector(".meter");
      meter.setAttribute("aria-label", label);
      meter.setAttribute("aria-valuemax", String(limit));
      meter.setAttribute("aria-valuenow", String(remaining));
      meter.firstElementChild.style.width = `${(100 * remaining) / limit}%`;
      element.toggleAttribute("data-empty", remaining === 0);
      fieldOf(element, "name").textContent = label;
      fieldOf(element, "left").textContent = `${remaining} of ${limit} left`;
      fieldOf(element, "reset").textContent =
        remaining === limit ? "nothing used" : `full again in ${describeWait(seconds)}`;
    },
  });
}
