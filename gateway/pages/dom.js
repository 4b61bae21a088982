// Elements without markup in strings: text stays text, whatever it holds.

const SVG = new Set(["svg", "path", "circle"]);

/** An element with attributes, listeners (`onclick`), custom properties (`style: {"--part": "3"}`) and children. */
export function h(name, properties = {}, ...children) {
  const element = SVG.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (key === "value" && "value" in element) element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const fragment = (...children) => {
  const made = document.createDocumentFragment();
  made.append(...children.flat(Infinity).filter(Boolean));
  return made;
};

const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });

/** A day, in UTC. */
export const day = (instant) => (instant ? h("time", { datetime: instant, title: instant }, DAY.format(new Date(instant))) : "–");

/** A time, in UTC. */
export const time = (instant) =>
  instant ? h("time", { datetime: instant, title: instant }, TIME.format(new Date(instant)), " UTC") : "–";

/** "AWAITING_APPROVAL" or "awaiting_approval" → "Awaiting approval". */
export const words = (name) => {
  const text = String(name ?? "").replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** A count with separators. */
export const count = (number) => Number(number ?? 0).toLocaleString();

/** A long name or address: cut in the middle where it is shown, whole on hover and when copied. */
export const short = (text, keep = 10) =>
  text && text.length > 2 * keep + 3
    ? h("span", { class: "code", title: text }, text.slice(0, keep), "…", text.slice(-keep))
    : h("span", { class: "code" }, text || "–");
