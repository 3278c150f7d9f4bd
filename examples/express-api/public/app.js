// The page of the example: sign in, order things, see your sessions and end them, and be told at once of what happens elsewhere.
import { describeSource, forgetAnswers, noteAnswer } from "./answers.js";
import { fieldOf, renderList } from "./lists.js";
import { describeAge, describeDevice, describeWait } from "./words.js";

const find = (id) => document.getElementById(id);
const views = { loading: "Orders", "sign-in": "Sign in", ended: "Signed out", account: "Your account" };
/** Another service may end sessions without an event of this one. */
const pollMs = 60_000;
const reconnectMs = 3000;
const retryMs = 1000;
/** How long after an order a click is taken for the same one. */
const nextOrderMs = 1000;
/** As many orders as the style shows. */
const shownOrders = 8;

/** The stream of what happens elsewhere, while somebody is signed in. */
let events;
/** The id of the last event, after which another stream goes on. */
let lastEventId;
let polling;
/** Orders by id. They come in answers and in events, and some in both. */
let orders = new Map();
/** The key of the order that the form stands for: the same for every click and attempt. */
let orderKey = crypto.randomUUID();
let waiting;
/** Timers of what is asked for once more, by the function that asks. */
const retries = new Map();

find("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void whileBusy(find("sign-in-button"), () => signIn(new FormData(event.target)));
});
find("email-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void whileBusy(find("email-button"), () => sendLink(new FormData(event.target)));
});
find("again").addEventListener("click", () => showSignIn());
find("sign-out").addEventListener("click", () => void signOut("/auth/logout"));
find("sign-out-everywhere").addEventListener("click", () => void signOut("/auth/logout/everywhere"));
find("end-others").addEventListener("click", () => void whileBusy(find("end-others"), endOthers));
find("load-orders").addEventListener("click", () => void whileBusy(find("load-orders"), showOrders));
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
  const response = await send("POST", "/auth/session").catch(() => undefined);
  if (response?.ok) {
    if ((await response.json()).signedIn) await enter();
    else showSignIn();
    return;
  }
  // Nobody knows at the moment: whoever is signed in must not be asked for a password.
  find("loading").textContent = "The service cannot answer at the moment. Trying again ...";
  setTimeout(() => void start(), retryMs);
}

async function signIn(form) {
  showError("sign-in-error");
  stopWaiting();
  try {
    const response = await send("POST", "/auth/login", Object.fromEntries(form));
    if (!response.ok) return refuseSignIn(response);
    find("password").value = "";
    await enter();
  } catch {
    showError("sign-in-error", "The service cannot be reached. Try again.");
  }
}

function refuseSignIn({ status, headers }) {
  if (status === 401) return showError("sign-in-error", "User name or password is wrong.");
  if (status === 503)
    return showError("sign-in-error", "Nobody can sign in at the moment. Try again in a few seconds.");
  if (status !== 429) return showError("sign-in-error", "This did not work. Try again.");
  showError("sign-in-error", "Too many attempts.");
  waitFor(Number(headers.get("retry-after")) || 1);
}

/** Counts down the seconds until another attempt is allowed. */
function waitFor(seconds) {
  const endsAt = Date.now() + seconds * 1000;
  const say = () => {
    const left = Math.ceil((endsAt - Date.now()) / 1000);
    find("sign-in-wait").textContent = left > 0 ? `Try again in ${describeWait(left)}.` : "You can try again now.";
    if (left <= 0) {
      showError("sign-in-error");
      clearInterval(waiting);
    }
  };
  find("sign-in-wait").hidden = false;
  waiting = setInterval(say, 250);
  say();
}

function stopWaiting() {
  clearInterval(waiting);
  find("sign-in-wait").hidden = true;
}

async function signOut(path) {
  showError("account-error");
  // It would tell of the end of this session, too, and the page would ask in vain.
  events?.close();
  const response = await ask("POST", path).catch(() => undefined);
  // Whoever is told to be signed out must be: 401 says that the session is over already.
  if (response?.ok || response?.status === 401) return showSignIn();
  showError("account-error", "You are still signed in: signing out could not be recorded. Try again.");
  find("account-error").scrollIntoView({ block: "nearest" });
  if (events !== undefined) listen();
}

/** Signed in: shows what there is, and listens for what happens from then on. */
async function enter() {
  leave();
  setLive("connecting");
  find("who").hidden = false;
  show("account");
  find("account-title").focus();
  polling = setInterval(() => !document.hidden && void showSessions(), pollMs);
  // First: what happens after it comes by the stream, also what happens while the rest is loaded.
  lastEventId = await showOrders();
  await Promise.all([showSessions(), showEmail()]);
  if (!find("account").hidden) listen();
}

function listen() {
  events?.close();
  const resumed = lastEventId !== undefined;
  const source = new EventSource(`/events?lastEventId=${lastEventId ?? ""}`);
  events = source;
  const on = (name, handle) =>
    source.addEventListener(name, (event) => {
      lastEventId = event.lastEventId || lastEventId;
      handle(JSON.parse(event.data));
    });
  on("order", (order) => addOrders([order]));
  on("sessions", () => void showSessions());
  on("gap", () => showAll());
  on("degraded", () => setLive("degraded"));
  on("recovered", () => {
    setLive("live");
    showAll();
  });
  on("end", ({ reason }) => {
    if (reason === "session_ended") showEnded();
    else if (reason === "expired" || reason === "revoked") void renew(source);
    // After any other reason EventSource connects again by itself.
  });
  source.addEventListener("open", () => {
    setLive("live");
    // Also where the orders could not be read before.
    if (!resumed || find("source").dataset.outcome === "fault") showAll();
  });
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

/** Puts another stream in the place of one that is over. */
async function reconnect(ended) {
  const response = await ask("GET", "/sessions").catch(() => undefined);
  // Somebody may have signed out meanwhile.
  if (events !== ended) return;
  if (response?.status === 401) return showEnded();
  if (!response?.ok) return void setTimeout(() => void reconnect(ended), reconnectMs);
  renderSessions(await response.json());
  listen();
}

function leave() {
  events?.close();
  events = undefined;
  lastEventId = undefined;
  clearInterval(polling);
  for (const timer of retries.values()) clearTimeout(timer);
  orders = new Map();
  for (const id of ["orders", "sessions", "source", "account-done", "email-state"]) find(id).replaceChildren();
  for (const id of ["account-error", "order-error", "email-error", "earlier", "outage"]) find(id).hidden = true;
  forgetAnswers();
}

/** Loads once more after an answer such as 503. While Redis is down the stream says when to. */
function retry(load, response) {
  clearTimeout(retries.get(load));
  const waitMs = 1000 * Number(response?.headers.get("retry-after")) || reconnectMs;
  retries.set(
    load,
    setTimeout(() => find("outage").hidden && void load(), waitMs),
  );
}

function showAll() {
  void showOrders();
  void showSessions();
}

async function showEmail() {
  const response = await ask("GET", "/email").catch(() => undefined);
  if (!response?.ok) return;
  const { email } = await response.json();
  find("email-state").textContent = email === null ? "No address is confirmed." : `${email} is confirmed.`;
}

async function sendLink(form) {
  showError("email-error");
  const response = await ask("POST", "/email", Object.fromEntries(form)).catch(() => undefined);
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

async function showSessions() {
  const response = await ask("GET", "/sessions").catch(() => undefined);
  if (find("account").hidden) return;
  if (response?.ok) renderSessions(await response.json());
  else if (response?.status === 401) showEnded();
  else retry(showSessions, response);
}

/** Does something about sessions, and shows what has become of them. Returns the answer if it was done. */
async function act(change) {
  showError("account-error");
  find("account-done").textContent = "";
  const response = await change().catch(() => undefined);
  if (response?.status === 401) return void showEnded();
  const isDone = response?.ok || response?.status === 404;
  if (!isDone) showError("account-error", "Nothing was ended: it could not be recorded. Try again.");
  await showSessions();
  return isDone ? response : undefined;
}

async function endSession(id, name) {
  const done = await act(() => ask("DELETE", `/sessions/${encodeURIComponent(id)}`));
  if (done !== undefined) find("account-done").textContent = `The session of ${name} has ended.`;
}

async function endOthers() {
  const done = await act(() => ask("DELETE", "/sessions"));
  if (done === undefined) return;
  const { ended } = await done.json();
  find("account-done").textContent = ended === 1 ? "One session has ended." : `${ended} sessions have ended.`;
  // There is no other session, so the button has nothing to do.
  find("sessions-title").focus();
}

async function placeOrder(item) {
  const key = orderKey;
  showError("order-error");
  const response = await ask("POST", "/orders", { item }, { "idempotency-key": `"${key}"` }).catch(() => undefined);
  if (response?.status === 401) return showEnded();
  if (response?.status === 429) {
    const wait = describeWait(Number(response.headers.get("retry-after")));
    return showError("order-error", `No order was made: your limit of orders is used up. Try again in ${wait}.`);
  }
  // Without an answer nobody knows whether it was made: the next click asks again, with the same key.
  if (!response?.ok) return showError("order-error", "There is no answer yet. Click again: it is made once.");
  // The second click of a double click may come after the answer to the first.
  setTimeout(() => orderKey === key && (orderKey = crypto.randomUUID()), nextOrderMs);
  addOrders([await response.json()]);
}

/** Returns the id of the event after which the orders are as shown. */
async function showOrders() {
  const shown = orders;
  const start = performance.now();
  const response = await ask("GET", "/orders").catch(() => undefined);
  const tookMs = Math.max(1, Math.round(performance.now() - start));
  const found = response?.ok ? await response.json() : [];
  // Another user may have signed in meanwhile.
  if (orders !== shown) return undefined;
  if (response?.status === 401) return void showEnded();
  showSource(response, tookMs);
  if (!response?.ok) return void retry(showOrders, response);
  addOrders(found);
  return response.headers.get("last-event-id") ?? undefined;
}

/** Says where the orders came from. */
function showSource(response, tookMs) {
  const outcome = response?.ok ? describeSource(response) : "fault";
  const texts = {
    hit: `Read from the cache in ${tookMs} ms: the database was not asked.`,
    miss: `Read from the database in ${tookMs} ms, and kept in the cache for a minute.`,
    fault: "The orders cannot be read at the moment. They appear when the service can answer again.",
  };
  const chip = document.createElement("span");
  chip.className = "chip";
  chip.textContent = outcome === "fault" ? String(response?.status ?? "no answer") : outcome;
  find("source").dataset.outcome = outcome;
  find("source").replaceChildren(chip, ` ${texts[outcome]}`);
}

function addOrders(added) {
  for (const order of added) orders.set(order.id, order);
  renderList(find("orders"), [...orders.values()].reverse(), {
    idOf: ({ id }) => id,
    template: find("order"),
    update(element, { id, item, quantity }) {
      fieldOf(element, "item").textContent = `${quantity} x ${item}`;
      fieldOf(element, "id").textContent = id;
    },
  });
  const earlier = orders.size - shownOrders;
  find("earlier").hidden = earlier <= 0;
  find("earlier").textContent = earlier === 1 ? "and one earlier order" : `and ${earlier} earlier orders`;
}

function renderSessions({ subject, current, sessions }) {
  find("user").textContent = subject;
  const sorted = [...sessions].sort(
    (one, other) => (other.id === current) - (one.id === current) || other.lastSeenAt - one.lastSeenAt,
  );
  const lostFocus = renderList(find("sessions"), sorted, {
    idOf: ({ id }) => id,
    template: find("session"),
    update(element, { id, ip, userAgent, createdAt }) {
      const device = describeDevice(userAgent ?? "");
      const button = element.querySelector("button");
      element.dataset.kind = device.kind;
      element.toggleAttribute("data-current", id === current);
      fieldOf(element, "name").textContent = device.name;
      fieldOf(element, "detail").textContent = `${ip ?? "unknown address"}, signed in ${describeAge(createdAt)}`;
      element.querySelector(".badge").hidden = id !== current;
      button.hidden = id === current;
      button.setAttribute("aria-label", `End the session of ${device.name}`);
      button.onclick = () => void whileBusy(button, () => endSession(id, device.name));
    },
  });
  find("end-others").disabled = sorted.length < 2;
  if (lostFocus) find("sessions-title").focus();
}

function showSignIn() {
  leave();
  stopWaiting();
  showError("sign-in-error");
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
  for (const view of Object.keys(views)) find(view).hidden = view !== id;
  document.title = id === "loading" ? views[id] : `${views[id]} - Orders`;
}

function showError(id, text = "") {
  find(id).textContent = text;
  find(id).hidden = text === "";
}

function setLive(state) {
  find("live").dataset.state = state;
  find("live").textContent = state;
  if (state === "connecting") return;
  find("outage").hidden = state === "live";
  find("outage").textContent =
    state === "live"
      ? ""
      : "Redis cannot be reached. Until it is back, requests are answered with 503: nobody can say whether a session has ended.";
}

/** Runs one action of a button at a time. The button stays enabled, since it would lose the focus otherwise. */
async function whileBusy(button, action) {
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await action();
  } finally {
    button.ariaDisabled = "false";
  }
}

/** A request; when the access token has expired, once more with a new one. */
async function ask(method, path, body, headers) {
  const response = await send(method, path, body, headers);
  if (response.status !== 401) return response;
  const refreshed = await send("POST", "/auth/refresh");
  return refreshed.ok ? send(method, path, body, headers) : response;
}

async function send(method, path, body, headers = {}) {
  const start = performance.now();
  const response = await fetch(path, {
    method,
    headers: body === undefined ? headers : { ...headers, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  noteAnswer(method, path, response, performance.now() - start);
  return response;
}
