// What home, earnings and the calendar show of the same figures.

import { day, h, words } from "./dom.js";
import { exact, micro, precise, sum } from "./money.js";
import { get, session, text } from "./api.js";

/** The seven buckets in the order of their life: name, colour, meaning. */
export const BUCKETS = [
  ["pending", "--c5", "Accrued; its charge is not settled yet"],
  ["maturing", "--c3", "Settled; waits out the refund time"],
  ["withdrawable", "--c2", "Yours to be paid out now"],
  ["frozen", "--c4", "Would be withdrawable, but your earnings are frozen"],
  ["held", "--c1", "Set aside for a payout you asked for"],
  ["paid_out", "--c6", "Sent to you"],
  ["reversed", "--c7", "Taken back after refunds"],
];

export const REASONS = {
  payment_unknown: "The payment behind it was not reported yet",
  payment_not_cleared: "The payment behind it has not cleared",
  frozen: "Your earnings are frozen",
};

export const earnings = () => get("/api/creator/earnings");

/** The bar and the sum: the seven together are all that ever accrued. */
export function buckets(found) {
  const rows = BUCKETS.map(([name, tone, meaning]) => ({ name, tone, meaning, amount: micro(found[`${name}_micro`]) }));
  const total = sum(rows.map((row) => row.amount));
  const bar = h("div", { class: "bar", "aria-hidden": "true" }, rows.filter((row) => row.amount > 0n).map((row) =>
    h("i", { title: `${words(row.name)} ${exact(row.amount)}`, style: { "--part": String(Number((row.amount * 1000n) / (total || 1n)) + 1), "--tone": `var(${row.tone})` } })));
  const list = h("dl", { class: "sums" }, rows.map((row) => [
    h("dt", { title: row.meaning }, h("span", { class: "dot", style: { "--tone": `var(${row.tone})` }, "aria-hidden": "true" }), words(row.name)),
    h("dd", {}, precise(row.amount)),
  ]), h("dt", { class: "total" }, total === micro(found.accrued_micro) ? "Together: all you ever earned" : "Together (does not add up!)"), h("dd", { class: "total" }, precise(total)));
  return h("div", {}, bar, list);
}

/** The next day on which something unlocks. */
export function nextUnlock(found) {
  const dated = (found.parts ?? []).filter((part) => part.unlocks_at).sort((one, other) => one.unlocks_at.localeCompare(other.unlocks_at));
  if (!dated.length) return null;
  const first = dated[0].unlocks_at.slice(0, 10);
  return { at: dated[0].unlocks_at, amount: sum(dated.filter((part) => part.unlocks_at.startsWith(first)).map((part) => part.amount_micro)) };
}

const DAY = 86_400_000;
export const iso = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 10);

/** The last `days` closed and open days up to an instant. */
export const lastDays = (asOf, days) => {
  const end = asOf ? Date.parse(asOf) : Date.now();
  return Array.from({ length: days }, (_, index) => iso(end - (days - 1 - index) * DAY));
};

/** The statement's lines: [{day, model, charges, accrued_micro, reversed_micro}], oldest first. */
export async function statement(from, to) {
  const lines = (await text("/api/creator/statement.csv", { from_day: from, to_day: to })).trim().split(/\r?\n/);
  const names = cells(lines.shift() ?? "");
  return lines.filter(Boolean).map((line) => Object.fromEntries(cells(line).map((cell, index) => [names[index], cell])));
}

/** One line of CSV (RFC 4180). */
function cells(line) {
  return Array.from(line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g), ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain);
}

export const byModel = (lines, days) => stacked(lines.map((line) => ({ day: line.day, name: line.model, amount: line.accrued_micro })), days);

const closed = new Map();
/** What one closed day made, split by model, channel or cohort. It never changes again, so it is asked for once. */
async function split(dimension, at) {
  const key = `${session.claims.sub} ${dimension} ${at}`;
  const known = closed.get(key);
  if (known) return known;
  const found = await get("/api/creator/earnings/breakdown", { dimension, from_day: at, to_day: at });
  const rows = found.parts.map((part) => ({ day: at, name: part.name, amount: part.accrued_micro }));
  if (found.closed_through >= at) closed.set(key, rows);
  return rows;
}

/** One series per channel or cohort over the days: those that earned nothing are not asked for. */
export async function byPart(dimension, days) {
  const { series } = await get("/api/creator/earnings", { bucket: "day", from_time: `${days[0]}T00:00:00Z` });
  const earning = series.points.map((point) => point.start.slice(0, 10)).filter((at) => days.includes(at));
  return stacked((await Promise.all(earning.map((at) => split(dimension, at)))).flat(), days);
}

/** [{day, name, amount}] → one series per name over the days; the smallest beyond six are put together. */
function stacked(rows, days) {
  const names = new Map();
  for (const row of rows) {
    const amounts = names.get(row.name) ?? new Map();
    amounts.set(row.day, (amounts.get(row.day) ?? 0n) + micro(row.amount));
    names.set(row.name, amounts);
  }
  const ordered = [...names].map(([name, amounts]) => ({ name, amounts, total: sum([...amounts.values()]) })).sort((one, other) => (one.total > other.total ? -1 : 1));
  const shown = ordered.slice(0, 6).map(({ name, amounts }) => ({ name, amounts: days.map((each) => amounts.get(each) ?? 0n) }));
  const rest = ordered.slice(6);
  if (rest.length) shown.push({ name: "all others", amounts: days.map((each) => sum(rest.map(({ amounts }) => amounts.get(each) ?? 0n))) });
  return shown;
}

export const asOf = (instant) => instant && h("small", {}, "As of ", day(instant));
