// Bars over time by Chart.js, fetched only where a chart is shown. Lengths are numbers; words are exact amounts.

import { h } from "./dom.js";
import { brief, exact, micro } from "./money.js";

const HERE = new URL(".", import.meta.url).pathname;
const TONES = 7;
let library;

/** Chart.js; its bundle is a script that leaves a global. */
const charts = () => (library ??= import(`${HERE}charts.js`).then(() => globalThis.Chart));

const colour = (name) => {
  // Chart.js draws on a canvas: light-dark() must be resolved first.
  const probe = h("i", { style: { color: `var(${name})` }, hidden: true });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

const cut = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

/** Stacked bars: `series` is [{name, amounts: [micro as string or BigInt]}], one amount per label. */
export async function bars(label, labels, series, { stacked = true } = {}) {
  const Chart = await charts();
  const canvas = h("canvas", { role: "img", "aria-label": `${label}. The amounts are listed below it.` });
  const build = () => {
    const [ink, line] = [colour("--faint"), colour("--line")];
    return new Chart(canvas, {
      type: "bar",
      data: {
        labels,
        datasets: series.map((each, index) => ({
          label: cut(each.name, 28),
          data: each.amounts.map((amount) => Number(micro(amount)) / 1e6),
          backgroundColor: colour(`--c${(index % TONES) + 1}`),
          borderRadius: 3,
          maxBarThickness: 44,
        })),
      },
      options: {
        responsive: true,
        maintainAspectRatio: false,
        animation: false,
        interaction: { mode: "index", intersect: false },
        scales: {
          x: { stacked, grid: { display: false }, ticks: { color: ink, maxRotation: 0, autoSkipPadding: 12 }, border: { color: line } },
          y: { stacked, beginAtZero: true, grid: { color: line }, border: { display: false }, ticks: { color: ink, maxTicksLimit: 6, callback: (value) => brief(BigInt(Math.round(value * 1e6))) } },
        },
        plugins: {
          legend: { position: "bottom", labels: { color: ink, boxWidth: 12, boxHeight: 12, useBorderRadius: true, borderRadius: 3 } },
          tooltip: { filter: (item) => item.raw !== 0, callbacks: { label: (item) => ` ${cut(series[item.datasetIndex].name, 60)}: ${exact(series[item.datasetIndex].amounts[item.dataIndex])}` } },
        },
      },
    });
  };
  const holder = h("div", { class: "chart" }, canvas);
  // It measures its holder, so it is drawn once that is on the page; and again in the other theme's colours.
  let drawn;
  requestAnimationFrame(() => (drawn = build()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (!canvas.isConnected) return;
    drawn?.destroy();
    drawn = build();
  });
  return holder;
}

/** Parts of a whole as labelled bars. */
export const parts = (rows, text) => {
  const most = rows.reduce((found, row) => (micro(row.amount) > found ? micro(row.amount) : found), 0n);
  return h("div", { class: "funnel" }, rows.map((row, index) =>
    h("div", {}, h("span", {}, row.name, text(row)),
      h("div", { class: "meter", "aria-hidden": "true" }, h("i", { style: { "--part": `${most === 0n ? 0 : Number((micro(row.amount) * 1000n) / most) / 10}%`, "--tone": `var(--c${(index % TONES) + 1})` } })))));
};
