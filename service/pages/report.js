// Additions to a report that reads in full without it: stepping, the threshold slider, the template filter.
"use strict";
const openAround = (element) => {
  for (let at = element; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
};
const openTarget = () => {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) {
    openAround(target);
    target.scrollIntoView();
  }
};
addEventListener("hashchange", openTarget);
openTarget();

const hint = document.querySelector(".key-hint");
if (hint) hint.hidden = false;
let current = -1;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const move = { j: 1, k: -1 }[event.key];
  const stops = [...document.querySelectorAll("details.entry")];
  if (!move || !stops.length) return;
  current = Math.min(Math.max(current + move, 0), stops.length - 1);
  openAround(stops[current]);
  stops[current].querySelector("summary").focus({ preventScroll: true });
  stops[current].scrollIntoView({ block: "start" });
});

const slider = document.getElementById("threshold-slider");
if (slider) {
  const input = slider.querySelector("input");
  const said = slider.querySelector("output");
  const rows = [...document.querySelectorAll("#curve-table [data-threshold]")].map((row) => ({
    threshold: Number(row.dataset.threshold), alarms: Number(row.dataset.alarms), x: row.dataset.x,
  }));
  const marker = document.getElementById("curve-threshold");
  const scored = [...document.querySelectorAll("#entries-section [data-score]")];
  const entries = scored.filter((element) => element.id);
  const days = Number(input.dataset.days);
  const used = Number(input.dataset.used);
  const rate = (value) => (value >= 10 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : String(Number(value.toPrecision(2))));
  const say = () => {
    const row = rows[Number(input.value)];
    if (marker) {
      marker.setAttribute("x1", row.x + "%");
      marker.setAttribute("x2", row.x + "%");
    }
    let kept = 0;
    for (const entry of entries) {
      const below = Number(entry.dataset.score) < row.threshold;
      entry.classList.toggle("below", below);
      if (!below) kept += 1;
    }
    const total = days > 0 ? ` (${Math.round(row.alarms * days)} in ${days.toFixed(1)} days)` : "";
    const list = row.threshold < used
      ? "; a lower threshold adds entries that are not listed here"
      : `; ${kept} of ${entries.length} listed entries remain, the others are greyed`;
    said.textContent = `${row.threshold.toFixed(2)}: ${rate(row.alarms)} alarms a day${total}${list}`;
    input.setAttribute("aria-valuetext", `threshold ${row.threshold.toFixed(2)}, ${rate(row.alarms)} alarms a day`);
  };
  let nearest = 0;
  rows.forEach((row, index) => {
    if (Math.abs(row.threshold - used) < Math.abs(rows[nearest].threshold - used)) nearest = index;
  });
  input.value = String(nearest);
  input.addEventListener("input", say);
  slider.hidden = false;
}

const filter = document.getElementById("template-filter");
const listed = [...document.querySelectorAll(".templates-table tbody tr")];
if (filter && listed.length > 5) {
  const input = filter.querySelector("input");
  const said = filter.querySelector("output");
  const words = listed.map((row) => row.textContent.normalize("NFKC").toLowerCase());
  const rest = document.getElementById("more-templates");
  input.addEventListener("input", () => {
    const wanted = input.value.normalize("NFKC").toLowerCase().trim();
    let kept = 0;
    listed.forEach((row, index) => {
      row.hidden = wanted !== "" && !words[index].includes(wanted);
      if (!row.hidden) kept += 1;
    });
    if (rest && wanted) rest.open = true;
    said.textContent = wanted ? `${kept} of ${listed.length}` : "";
  });
  filter.hidden = false;
}

addEventListener("beforeprint", () => {
  for (const entry of [...document.querySelectorAll("#entries-section > details.entry")].slice(0, 10)) entry.open = true;
});
