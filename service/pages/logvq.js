// Additions to pages that work without it: stepping through surprising lines, updates without losing one's place.
"use strict";
const steps = () => [...document.querySelectorAll("[data-step]")];
const hint = document.querySelector(".key-hint");
if (hint && steps().length) hint.hidden = false;
let current = -1;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const move = { j: 1, k: -1 }[event.key];
  const stops = steps();
  if (!move || !stops.length) return;
  current = Math.min(Math.max(current + move, 0), stops.length - 1);
  stops[current].focus();
  stops[current].scrollIntoView({ block: "center" });
});

const pause = document.getElementById("pause");
if (pause) {
  let running = true;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    running = !running;
    pause.textContent = running ? "Pause updates" : "Resume updates";
    pause.setAttribute("aria-pressed", String(!running));
  });
  setInterval(async () => {
    const main = document.getElementById("main");
    if (!running || document.hidden || main.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      main.replaceWith(fresh.getElementById("main"));
      document.title = fresh.title;
    } catch {
      // The service may be restarting: the next round tries again.
    }
  }, 5000);
}
