// Keeps a screen at the newest state: asks for the fragments that changed since the version it has, and
// waits for the answer. What is slow gets fewer states, and never old ones. Without this script the page
// is loaded anew instead.
"use strict";
(() => {
  const body = document.body;
  const offline = document.getElementById("offline");
  const unshownLine = document.getElementById("unshown");
  let version = Number(body.dataset.version);
  let unshown = 0;

  // An answer comes after 10 seconds at the latest; a line that is silent for longer is not there.
  const SILENT_MS = 15000;
  // Time until a line that is not there is asked again.
  const RETRY_MS = 1000;

  function countUnshown(element, fragment) {
    const before = Number(element.dataset.parts);
    if (fragment.parts === null || !element.dataset.parts) return;
    const passed = fragment.parts - before - 1;
    if (passed > 0) unshown += passed;
    element.dataset.parts = fragment.parts;
  }

  function show(fragment) {
    const element = document.getElementById(fragment.id);
    if (!element) {
      // A new place: the page has another shape now.
      location.reload();
      return;
    }
    countUnshown(element, fragment);
    element.className = fragment.class;
    element.innerHTML = fragment.html;
  }

  async function ask() {
    const abort = new AbortController();
    const silent = setTimeout(() => abort.abort(), SILENT_MS);
    try {
      const address = `/updates/${body.dataset.screen}?since=${version}`;
      const answer = await fetch(address, { cache: "no-store", signal: abort.signal });
      if (!answer.ok) throw new Error(answer.status);
      const update = await answer.json();
      if (update.build !== body.dataset.build) {
        location.reload();
        return;
      }
      update.fragments.forEach(show);
      version = update.version;
      body.dataset.version = version;
      unshownLine.textContent = unshown > 0
        ? `${unshown} parts were counted and not shown here: they came faster than this page.` : "";
      offline.hidden = true;
    } finally {
      clearTimeout(silent);
    }
  }

  async function run() {
    for (;;) {
      try {
        await ask();
      } catch {
        offline.hidden = false;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  run();
})();
