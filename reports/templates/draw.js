"use strict";
// Figures: read from where they stand, freed of what is filtered out, drawn when they come near the window.
const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
const GOLDEN = (Math.sqrt(5) - 1) / 2;
const JITTER = 0.27;
const sources = new Map();
const drawn = new Set();
const LISTS = ["x", "y", "text", "hovertext", "customdata", "q1", "q3", "median", "lowerfence", "upperfence"];

// Multiples of the golden ratio spread any number of points evenly about their row, and the same way every time.
const spread = (row, count) =>
  Array.from({ length: count }, (_, place) => row + (((place * GOLDEN) % 1) - 0.5) * 2 * JITTER);

async function load(id) {
  if (sources.has(id)) return;
  const figure = await unpack(document.querySelector(`script[data-chart="${CSS.escape(id)}"]`).textContent).json();
  for (const trace of figure.data) {
    if (trace.meta && trace.meta.row !== undefined) trace.y = spread(trace.meta.row, trace.x.length);
  }
  sources.set(id, figure);
}

const axisOf = (reference) => "yaxis" + (reference || "y").slice(1);
const pick = (list, kept) => (Array.isArray(list) ? kept.map((place) => list[place]) : list);

// A trace without the points of hidden rows, the others moved up into their places.
function thinned(trace, places) {
  const kept = trace.y.map((_, index) => index).filter((index) => places[Math.round(trace.y[index])] !== undefined);
  const rows = trace.y;
  for (const name of LISTS) if (trace[name] !== undefined) trace[name] = pick(trace[name], kept);
  trace.y = kept.map((index) => rows[index] - Math.round(rows[index]) + places[Math.round(rows[index])]);
  for (const name of ["color", "symbol"]) if (trace.marker) trace.marker[name] = pick(trace.marker[name], kept);
  return trace;
}

// Shapes and words of a row go where the row goes.
function moved(parts, name, places) {
  return (parts || []).filter((part) => {
    if (axisOf(part.yref) !== name || String(part.yref).includes("paper")) return true;
    const row = Math.round(part.y0 === undefined ? part.y : (part.y0 + part.y1) / 2);
    if (places[row] === undefined) return false;
    for (const end of ["y", "y0", "y1"]) if (part[end] !== undefined) part[end] += places[row] - row;
    return true;
  });
}

function filtered(figure, hidden) {
  figure.data = figure.data.filter((trace) => !(trace.meta && hidden(trace.meta.key)));
  const rows = (figure.layout.meta && figure.layout.meta.rows) || {};
  for (const [name, keys] of Object.entries(rows)) {
    const places = {};
    const left = keys.map((_, row) => row).filter((row) => !hidden(keys[row]));
    left.forEach((row, place) => (places[row] = place));
    const axis = figure.layout[name];
    axis.ticktext = left.map((row) => axis.ticktext[row]);
    axis.tickvals = left.map((_, place) => place);
    axis.range = [Math.max(left.length, 1) - 0.45, -0.55];
    figure.data = figure.data.map((trace) => (axisOf(trace.yaxis) === name ? thinned(trace, places) : trace));
    figure.layout.annotations = moved(figure.layout.annotations, name, places);
    figure.layout.shapes = moved(figure.layout.shapes, name, places);
  }
  return figure;
}

// On a phone names break before their bracket where rows are high enough, and a legend gets room of its own.
const LEGEND_LINE = 21;

function narrowed({ layout, data }) {
  const dense = wordsBeside(layout).length > 0;
  for (const [name, axis] of Object.entries(layout)) {
    if (!name.startsWith("yaxis") || !axis.ticktext) continue;
    axis.tickfont = { size: 11 };
    if (!dense) axis.ticktext = axis.ticktext.map((text) => text.replace(" (", "<br>("));
  }
  if (layout.showlegend) {
    const names = data.filter((trace) => trace.name).map((trace) => trace.name.length);
    const columns = Math.max(1, Math.floor(230 / (50 + 7 * Math.max(...names))));
    const room = LEGEND_LINE * (Math.ceil(names.length / columns) - 1);
    layout.height += room;
    layout.margin.t += room;
    layout.legend.maxheight = room + 2 * LEGEND_LINE;
  }
  shortened(layout);
}

const wordsBeside = (layout) => (layout.annotations || []).filter((note) => note.xref === "paper" && note.x > 1);

// The verdict beside a ratio is then its symbol alone, and fewer ticks have room; the table has the words.
function shortened(layout) {
  const words = wordsBeside(layout);
  if (!words.length) return;
  for (const note of words) note.text = note.text.split(" ")[0];
  layout.margin.r = 28;
  const axis = layout.xaxis;
  if (axis.tickvals.length < 4) return;
  const kept = axis.tickvals.map((_, place) => place).filter((place) => axis.tickvals[place] === 1 || place % 3 === 0);
  for (const name of ["tickvals", "ticktext"]) axis[name] = pick(axis[name], kept);
}

// At once, of a figure that was loaded: nothing can be waited for when a page is about to be printed.
function drawLoaded(chart, hidden) {
  const figure = filtered(structuredClone(sources.get(chart.id)), hidden);
  if (chart.clientWidth < 480) narrowed(figure);
  chart.style.height = `${figure.layout.height}px`;
  return Plotly.react(chart, figure.data, figure.layout, config);
}

async function draw(chart, hidden) {
  drawn.add(chart.id);
  await load(chart.id);
  await drawLoaded(chart, hidden);
}

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) found[place] = text.charCodeAt(place);
  return found;
}

const unpack = (base64) => new Response(new Blob([bytes(base64)]).stream().pipeThrough(new DecompressionStream("gzip")));

async function library() {
  const element = document.createElement("script");
  element.textContent = await unpack(document.getElementById("plotly").textContent).text();
  document.head.append(element);
}

// Unpacked while the rest of the page is still being read. An old browser cannot, and is told so.
const arriving = typeof DecompressionStream === "undefined" ? null : library();
