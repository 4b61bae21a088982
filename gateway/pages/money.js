// Amounts are micro-USD in decimal strings. They are BigInt from end to end; no float ever holds one.

import { h } from "./dom.js";

const UNIT = 1_000_000n;
const CENT = 10_000n;

export const micro = (text) => BigInt(text ?? 0);

/** "-$1,234.567800": every digit there is. */
export function exact(amount) {
  const value = micro(amount);
  const size = value < 0n ? -value : value;
  return `${value < 0n ? "−" : ""}$${(size / UNIT).toLocaleString("en-US")}.${String(size % UNIT).padStart(6, "0")}`;
}

/** Cents, cut off and never rounded up; an amount below a cent shows all its digits. */
export function brief(amount) {
  const value = micro(amount);
  const size = value < 0n ? -value : value;
  if (size === 0n) return "$0.00";
  if (size < CENT) return exact(value);
  return exact(value).slice(0, -4);
}

/** An amount in short, exact on hover and for screen readers. */
export function money(amount) {
  const value = micro(amount);
  const shown = brief(value);
  const whole = exact(value);
  const minus = value < 0n ? "money minus" : "money";
  if (shown === whole || value % CENT === 0n) return h("data", { class: minus, value: String(value), title: whole }, shown);
  return h("data", { class: minus, value: String(value), title: whole }, h("span", { "aria-hidden": "true" }, shown), h("span", { class: "sr" }, whole));
}

/** An amount with every digit, those below a cent set small. */
export function precise(amount) {
  const whole = exact(amount);
  const value = micro(amount);
  const classes = value < 0n ? "money minus" : "money";
  return h("data", { class: classes, value: String(value), title: whole }, whole.slice(0, -4), h("span", { class: "tail" }, whole.slice(-4)));
}

/** What somebody typed, in dollars → micro-USD as a string; null where it is no amount. */
export function typed(text) {
  const cleaned = text.trim().replace(/^\$/, "").replaceAll(",", "");
  const found = /^([0-9]{1,9})(?:\.([0-9]{1,6}))?$/.exec(cleaned);
  return found ? String(BigInt(found[1]) * UNIT + BigInt((found[2] ?? "").padEnd(6, "0"))) : null;
}

/** A sum of amounts. */
export const sum = (amounts) => amounts.reduce((total, each) => total + micro(each), 0n);

/** part / whole in thousandths, for the length of a bar: geometry, not money. */
export const share = (part, whole) => (micro(whole) === 0n ? 0 : Number((micro(part) * 1000n) / micro(whole)));

/** 525 → "5.25 %". */
export function percent(bps) {
  const size = Math.abs(bps);
  return `${bps < 0 ? "−" : ""}${Math.trunc(size / 100).toLocaleString("en-US")}.${String(size % 100).padStart(2, "0")} %`;
}
