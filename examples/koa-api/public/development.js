// The button that stops Redis. The service has neither this file nor what it calls in production.
const find = (id) => document.getElementById(id);
const texts = {
  none: "This process has no Redis: everything is in its memory. To try an outage start it with REDIS_URL, or with npm start -- express-api --redis.",
  running: "Redis is running.",
  stopped: "Redis is stopped. Load the orders again, or try to sign out.",
};
let state = "none";

find("redis-button").addEventListener("click", () => void turn(state !== "running"));
find("redis-start").addEventListener("click", async () => {
  await turn(true);
  if (state === "running") find("main").focus();
});
// The button of another page may have been used: the stream tells it, or a sign-in that fails.
const observer = new MutationObserver(() => void load());
observer.observe(find("live"), { attributeFilter: ["data-state"] });
observer.observe(find("sign-in-error"), { attributeFilter: ["hidden"] });
void load();

async function load() {
  const response = await fetch("/development/redis").catch(() => undefined);
  if (response?.ok) show((await response.json()).state);
}

async function turn(running) {
  find("redis-error").hidden = true;
  const response = await fetch("/development/redis", {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ running }),
  }).catch(() => undefined);
  if (response?.ok) return show((await response.json()).state);
  find("redis-error").textContent = "This did not work. Try again.";
  find("redis-error").hidden = false;
}

function show(found) {
  state = found;
  find("redis").hidden = false;
  find("redis").dataset.state = state;
  find("redis-state").textContent = texts[state];
  find("redis-stopped").hidden = state !== "stopped";
  find("redis-button").hidden = state === "none";
  find("redis-button").textContent = state === "stopped" ? "Start Redis" : "Stop Redis";
}
