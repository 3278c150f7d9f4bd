// The page that the link of a mail opens. Opening it does nothing: mail scanners do so too. The button confirms.
const find = (id) => document.getElementById(id);
const token = location.hash.slice(1);

// It would stay in the history of the browser.
history.replaceState(null, "", location.pathname);
find("confirm").addEventListener("click", () => void confirm());

async function confirm() {
  const button = find("confirm");
  if (button.ariaDisabled === "true") return;
  // Not disabled: it would lose the focus.
  button.ariaDisabled = "true";
  find("error").hidden = true;
  try {
    const response = await fetch("/auth/confirm", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.ok) return finish(`${(await response.json()).email} is confirmed.`);
    if (response.status === 410) return finish("This link is no longer valid. Ask for another mail.");
    if (response.status === 429) return fail("Too many attempts. Try again in a minute.");
    fail("This did not work. Try again in a few seconds.");
  } catch {
    fail("The service cannot be reached. Try again.");
  }
}

function finish(text) {
  find("state").textContent = text;
  find("confirm").hidden = true;
  // The button that had the focus is gone.
  find("title").focus();
}

function fail(text) {
  find("error").textContent = text;
  find("error").hidden = false;
  find("confirm").ariaDisabled = "false";
}
