"use strict";
// Draws every figure where its JSON stands, and hands out the files that are inside the page.
const config = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
};
for (const source of document.querySelectorAll("script[data-chart]")) {
  const figure = JSON.parse(source.textContent);
  Plotly.newPlot(source.dataset.chart, figure.data, figure.layout, config);
}

async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).blob();
}

for (const button of document.querySelectorAll("button[data-file]")) {
  button.addEventListener("click", async () => {
    const name = button.dataset.file;
    const source = document.querySelector(`script[data-name="${CSS.escape(name)}"]`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await unpack(source.textContent));
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// Paper is narrower than the window the figures were drawn for.
const resize = () => document.querySelectorAll(".chart").forEach((chart) => Plotly.Plots.resize(chart));
window.addEventListener("beforeprint", resize);
window.addEventListener("afterprint", resize);
