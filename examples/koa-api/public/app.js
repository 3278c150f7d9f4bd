// The page of the example: sign in, see your sessions and end them, order things, and be told at once of what happens elsewhere.
const find = (id) => document.getElementById(id);
const views = ["loading", "sign-in", "ended", "account"].map(find);
const pollMs = 15_000;
const reconnectMs = 3000;
/** How long after an order a click is taken for the same one. */
const nextOrderMs = 1000;

/** The stream of what happens elsewhere, while somebody is signed in. */
let events;
/** The id of the last event, after which another stream goes on. */
let lastEventId;
let polling;
/** Orders by id. They come in answers and in events, and some in both. */
let orders = new Map();
/** The key of the order that the form stands for: the same for every click and attempt. */
let orderKey = crypto.randomUUID();

find("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void signIn(new FormData(event.target));
});
find("email-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void sendLink(new FormData(event.target));
});
find("again").addEventListener("click", () => showSignIn());
find("sign-out").addEventListener("click", () => void signOut("/auth/logout"));
find("sign-out-everywhere").addEventListener("click", () => void signOut("/auth/logout/everywhere"));
find("end-others").addEventListener("click", () => void act(() => ask("DELETE", "/sessions")));
find("order-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void placeOrder(find("item").value);
});
find("item").addEventListener("change", () => (orderKey = crypto.randomUUID()));
document.addEventListener("visibilitychange", () => {
  if (document.hidden || events === undefined) return;
  void showSessions();
  void showEmail();
});
void start();

/** With cookies of an earlier visit, if they are still good. */
async function start() {
  const response = await ask("GET", "/sessions").catch(() => undefined);
  if (response?.ok) await enter(await response.json());
  else showSignIn();
}

async function signIn(form) {
  const button = find("sign-in-button");
  button.disabled = true;
  showError("sign-in-error");
  try {
    const response = await send("POST", "/auth/login", Object.fromEntries(form));
    if (!response.ok) return showError("sign-in-error", await explainSignIn(response));
    find("password").value = "";
    await enter(await (await ask("GET", "/sessions")).json());
  } catch {
    showError("sign-in-error", "The service cannot be reached. Try again.");
  } finally {
    button.disabled = false;
  }
}

async function explainSignIn(response) {
  const seconds = Number(response.headers.get("retry-after"));
  if (response.status === 401) return "User name or password is wrong.";
  if (response.status === 429) return `Too many attempts. Try again in ${describeWait(seconds)}.`;
  if (response.status === 503) return "Nobody can sign in at the moment. Try again in a few seconds.";
  return "This did not work. Try again.";
}

async function signOut(path) {
  const response = await ask("POST", path).catch(() => undefined);
  // Whoever is told to be signed out must be: 401 says that the session is over already.
  if (response?.ok || response?.status === 401) return showSignIn();
  showError("account-error", "You are still signed in: signing out could not be recorded. Try again.");
}

/** Signed in: shows what there is, and listens for what happens from now on. */
async function enter(found) {
  find("user").textContent = found.subject;
  find("who").hidden = false;
  show("account");
  render(found);
  void showEmail();
  leave();
  setLive("connecting");
  polling = setInterval(() => !document.hidden && void showSessions(), pollMs);
  lastEventId = await showOrders();
  if (!find("account").hidden) listen();
}

function listen() {
  events?.close();
  const source = new EventSource(`/events?lastEventId=${lastEventId ?? ""}`);
  events = source;
  const on = (name, handle) =>
    source.addEventListener(name, (event) => {
      lastEventId = event.lastEventId || lastEventId;
      handle(JSON.parse(event.data));
    });
  on("order", (order) => addOrders([order]));
  on("sessions", () => void showSessions());
  on("gap", () => {
    void showOrders();
    void showSessions();
  });
  on("degraded", () => setLive("degraded"));
  on("recovered", () => setLive("live"));
  on("end", ({ reason }) => {
    if (reason === "session_ended") showEnded();
    else if (reason === "expired" || reason === "revoked") void renew(source);
    // After any other reason EventSource connects again by itself.
  });
  source.addEventListener("open", () => setLive("live"));
  source.addEventListener("error", () => {
    setLive("connecting");
    // A refused connection is not tried again: the access token has expired, or the session is over.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => void reconnect(source), reconnectMs);
  });
}

/** The stream has ended with its access token. The session goes on with a new one, if it is not over. */
async function renew(ended) {
  ended.close();
  setLive("connecting");
  await send("POST", "/auth/refresh").catch(() => undefined);
  await reconnect(ended);
}

async function showEmail() {
  const response = await ask("GET", "/email").catch(() => undefined);
  if (!response?.ok) return;
  const { email } = await response.json();
  find("email-state").textContent = email === null ? "No address is confirmed." : `${email} is confirmed.`;
}

async function sendLink(form) {
  const button = find("email-button");
  button.disabled = true;
  showError("email-error");
  const response = await ask("POST", "/email", Object.fromEntries(form)).catch(() => undefined);
  button.disabled = false;
  if (response?.ok) {
    find("email-state").textContent = "Open the link of the mail: it is in the terminal where this service runs.";
    find("email").value = "";
    return;
  }
  if (response?.status === 401) return showEnded();
  showError(
    "email-error",
    response?.status === 429 ? "Too many mails. Try again later." : "No mail was sent. Try again.",
  );
}

/** Puts another stream in the place of one that is over. */
async function reconnect(ended) {
  const response = await ask("GET", "/sessions").catch(() => undefined);
  // Somebody may have signed out meanwhile.
  if (events !== ended) return;
  if (response?.status === 401) return showEnded();
  if (!response?.ok) return void setTimeout(() => void reconnect(ended), reconnectMs);
  render(await response.json());
  listen();
}

function leave() {
  events?.close();
  events = undefined;
  clearInterval(polling);
  orders = new Map();
}

async function showSessions() {
  const response = await ask("GET", "/sessions").catch(() => undefined);
  if (response?.ok) render(await response.json());
  else if (response?.status === 401) showEnded();
}

/** Does something about sessions, and shows what has become of them. */
async function act(change) {
  showError("account-error");
  const response = await change().catch(() => undefined);
  if (response?.status === 401) return showEnded();
  if (!response?.ok && response?.status !== 404)
    showError("account-error", "Nothing was ended: it could not be recorded. Try again.");
  await showSessions();
}

async function placeOrder(item) {
  const key = orderKey;
  showError("order-error");
  const response = await ask("POST", "/orders", { item }, { "idempotency-key": `"${key}"` }).catch(() => undefined);
  if (response?.status === 401) return showEnded();
  // Without an answer nobody knows whether it was made: the next click asks again, with the same key.
  if (!response?.ok) return showError("order-error", "There is no answer yet. Click again: it is made once.");
  // The second click of a double click may come after the answer to the first.
  setTimeout(() => orderKey === key && (orderKey = crypto.randomUUID()), nextOrderMs);
  addOrders([await response.json()]);
}

/** Returns the id of the event after which the orders are as shown. */
async function showOrders() {
  const shown = orders;
  const response = await ask("GET", "/orders").catch(() => undefined);
  const found = response?.ok ? await response.json() : [];
  // Another user may have signed in meanwhile.
  if (!response?.ok || orders !== shown) return undefined;
  addOrders(found);
  return response.headers.get("last-event-id");
}

function addOrders(added) {
  for (const order of added) orders.set(order.id, order);
  const items = [...orders.values()].map(({ id, item, quantity }) => {
    const entry = document.createElement("li");
    entry.className = "card";
    entry.textContent = `${id}: ${quantity} x ${item}`;
    return entry;
  });
  find("orders").replaceChildren(...items.reverse());
}

function render({ current, sessions }) {
  const items = [...sessions]
    .sort((one, other) => (other.id === current) - (one.id === current) || other.lastSeenAt - one.lastSeenAt)
    .map((session) => {
      const item = find("session").content.firstElementChild.cloneNode(true);
      const device = describeDevice(session.userAgent ?? "");
      const isCurrent = session.id === current;
      item.dataset.kind = device.kind;
      item.toggleAttribute("data-current", isCurrent);
      item.querySelector("[data-field=name]").textContent = device.name;
      item.querySelector("[data-field=detail]").textContent =
        `${session.ip ?? "unknown address"}, signed in ${describeAge(session.createdAt)}`;
      item.querySelector(".badge").hidden = !isCurrent;
      const button = item.querySelector("button");
      button.hidden = isCurrent;
      button.setAttribute("aria-label", `End the session of ${device.name}`);
      button.addEventListener("click", () => {
        button.disabled = true;
        void act(() => ask("DELETE", `/sessions/${encodeURIComponent(session.id)}`));
      });
      return item;
    });
  find("sessions").replaceChildren(...items);
  find("end-others").disabled = items.length < 2;
}

function showSignIn() {
  leave();
  find("who").hidden = true;
  show("sign-in");
  find("username").focus();
}

function showEnded() {
  if (!find("ended").hidden) return;
  leave();
  find("who").hidden = true;
  find("ended-reason").textContent =
    "This session was ended, here or on another device. Its tokens are worth nothing now.";
  show("ended");
  find("again").focus();
}

function show(id) {
  for (const view of views) view.hidden = view.id !== id;
}

function showError(id, text = "") {
  find(id).textContent = text;
  find(id).hidden = text === "";
}

function setLive(state) {
  find("live").dataset.state = state;
  find("live").textContent = state;
}

/** A request; when the access token has expired, once more with a new one. */
async function ask(method, path, body, headers) {
  const response = await send(method, path, body, headers);
  if (response.status !== 401) return response;
  const refreshed = await send("POST", "/auth/refresh");
  return refreshed.ok ? send(method, path, body, headers) : response;
}

function send(method, path, body, headers = {}) {
  return fetch(path, {
    method,
    headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

function describeDevice(userAgent) {
  const browser = /Edg\//.test(userAgent)
    ? "Edge"
    : /Firefox\//.test(userAgent)
      ? "Firefox"
      : /Chrome\//.test(userAgent)
        ? "Chrome"
        : /Safari\//.test(userAgent)
          ? "Safari"
          : (/^[\w.-]+/.exec(userAgent)?.[0] ?? "An unknown client");
  const system = /iPhone|iPad/.test(userAgent)
    ? "iOS"
    : /Android/.test(userAgent)
      ? "Android"
      : /Windows/.test(userAgent)
        ? "Windows"
        : /Mac OS/.test(userAgent)
          ? "macOS"
          : /Linux/.test(userAgent)
            ? "Linux"
            : undefined;
  const kind = /Mobile|iPhone|Android/.test(userAgent) ? "phone" : "desktop";
  return { name: system === undefined ? browser : `${browser} on ${system}`, kind };
}

function describeAge(seconds) {
  const minutes = Math.max(0, Math.floor((Date.now() / 1000 - seconds) / 60));
  if (minutes < 1) return "just now";
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (minutes < 60) return words.format(-minutes, "minute");
  if (minutes < 1440) return words.format(-Math.floor(minutes / 60), "hour");
  return words.format(-Math.floor(minutes / 1440), "day");
}

function describeWait(seconds) {
  if (!(seconds > 90)) return `${Math.max(1, seconds || 1)} s`;
  return `${Math.ceil(seconds / 60)} minutes`;
}
