"use strict";
// The page: what is shown, in which order, and where a link leads.
const form = document.querySelector("form.filters");
const pair = document.getElementById("pair");
const KINDS = ["runtime", "profile", "scenario"];
const off = Object.fromEntries(KINDS.map((kind) => [kind, new Set()]));

function hidden(key) {
  const [runtime, ...rest] = key.split("|");
  return off.runtime.has(runtime) || off.profile.has(rest.join("|"));
}

// ---- links: #place, and after a question mark what is left out: #boot?runtime=tcg&scenario=disk
function place() {
  const [name, query] = decodeURI(location.hash.slice(1)).split("?");
  return [name, new URLSearchParams(query)];
}

function address(name) {
  const query = new URLSearchParams();
  for (const kind of KINDS) for (const value of off[kind]) query.append(kind, value);
  if (pair && pair.selectedIndex > 0) query.append("pair", pair.value);
  const said = query.toString();
  return `#${name}${said ? `?${said}` : ""}`;
}

function remember() {
  history.replaceState(null, "", address(place()[0]));
}

function goTo(name) {
  const target = name && document.getElementById(name);
  if (!target) return;
  for (let around = target; around; around = around.parentElement) if (around.matches("details")) around.open = true;
  target.scrollIntoView();
}

// ---- filters
function apply() {
  for (const element of document.querySelectorAll("[data-key], [data-scenario]")) {
    const { key, scenario } = element.dataset;
    element.hidden = (key !== undefined && hidden(key)) || (scenario !== undefined && off.scenario.has(scenario));
  }
  for (const question of document.querySelectorAll("section.q")) question.hidden = off.scenario.has(question.dataset.scenario);
  const left = KINDS.reduce((sum, kind) => sum + off[kind].size, 0);
  const said = document.getElementById("shown");
  if (said) said.textContent = left ? `everything but ${KINDS.flatMap((kind) => [...off[kind]]).join(", ")}` : "everything";
  for (const chart of document.querySelectorAll(".chart")) if (drawn.has(chart.id)) draw(chart, hidden);
}

function choose(query) {
  for (const kind of KINDS) off[kind] = new Set(query.getAll(kind));
  for (const box of form ? form.querySelectorAll("input") : []) {
    box.checked = !off[box.closest("[data-filter]").dataset.filter].has(box.value);
  }
  if (pair) pair.value = query.get("pair") || pair.options[0].value;
  showPair();
  apply();
}

function showPair() {
  for (const one of document.querySelectorAll(".pair")) one.hidden = Boolean(pair) && one.id !== pair.value;
}

if (form) {
  form.hidden = false;
  form.addEventListener("change", ({ target }) => {
    const set = off[target.closest("[data-filter]").dataset.filter];
    if (target.checked) set.delete(target.value);
    else set.add(target.value);
    apply();
    remember();
  });
  form.addEventListener("reset", () => {
    choose(new URLSearchParams());
    remember();
  });
}
if (pair) {
  pair.addEventListener("change", () => {
    showPair();
    remember();
  });
}

// ---- sorting: rows move within their group, by number where there is one
const valueOf = (row, column) => {
  const cell = row.cells[column];
  const value = cell && cell.dataset.v !== undefined ? cell.dataset.v : cell ? cell.textContent.trim() : "";
  return value === "" || value === "–" || value === "nan" || Number.isNaN(Number(value)) ? value : Number(value);
};

function order(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  return one.localeCompare(other);
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("button.sort");
  if (!button) return;
  const header = button.closest("th");
  const up = header.ariaSort !== "ascending";
  for (const other of header.parentElement.cells) other.ariaSort = "none";
  header.ariaSort = up ? "ascending" : "descending";
  for (const group of header.closest("table").tBodies) {
    const fixed = (row) => row.matches(".metric, .without");
    const rows = [...group.rows].filter((row) => !fixed(row));
    rows.sort((a, b) => (up ? 1 : -1) * order(valueOf(a, header.cellIndex), valueOf(b, header.cellIndex)));
    group.append(...[...group.rows].filter((row) => row.matches(".metric")), ...rows);
    group.append(...[...group.rows].filter((row) => row.matches(".without")));
  }
});

// ---- files
for (const button of document.querySelectorAll("button[data-file]")) {
  button.addEventListener("click", async () => {
    const name = button.dataset.file;
    const source = document.querySelector(`script[data-name="${CSS.escape(name)}"]`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await unpack(source.textContent).blob());
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// ---- beginning: tables and filters work at once; a chart is drawn when it comes near the window
const near = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) if (isIntersecting && !drawn.has(target.id)) draw(target, hidden);
  },
  { rootMargin: "800px" },
);

async function begin() {
  const [name, query] = place();
  choose(query);
  goTo(name);
  if (!arriving) {
    document.getElementById("plain").hidden = false;
    return;
  }
  await arriving;
  for (const chart of document.querySelectorAll(".chart")) near.observe(chart);
  performance.mark("usable");
  document.documentElement.dataset.ready = "";
  // The others are only unpacked, one at a time, so that scrolling and printing find them ready.
  for (const chart of document.querySelectorAll(".chart")) {
    await new Promise((resolve) => setTimeout(resolve));
    await load(chart.id);
  }
  document.documentElement.dataset.loaded = "";
}

window.addEventListener("hashchange", () => {
  const [name, query] = place();
  if ([...query].length) choose(query);
  goTo(name);
});
for (const link of document.querySelectorAll('a[href^="#"]:not(.skip)')) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const name = link.getAttribute("href").slice(1);
    history.pushState(null, "", address(name));
    goTo(name);
  });
}

// Paper shows everything there is, and is narrower than the window the figures were drawn for.
window.addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll(".pair")) one.hidden = false;
  for (const chart of document.querySelectorAll(".chart")) {
    if (drawn.has(chart.id) || !sources.has(chart.id)) continue;
    drawn.add(chart.id);
    drawLoaded(chart, hidden);
  }
  for (const chart of document.querySelectorAll(".chart")) Plotly.Plots.resize(chart);
});
window.addEventListener("afterprint", () => {
  showPair();
  for (const chart of document.querySelectorAll(".chart")) if (chart.offsetParent) Plotly.Plots.resize(chart);
});
begin();
