import { count, h } from "./dom.js";
import { money, percent } from "./money.js";
import { get } from "./api.js";
import { bones, card, failure } from "./parts.js";
import { head } from "./shell.js";
import { STUCK } from "./approvals.js";

/** How many there are, as far as one page goes. */
const rows = (path, member, query) => async () => {
  const found = await get(`/api/admin/${path}`, { page_size: 100, ...query });
  return { number: found[member].length, more: Boolean(found.next_page_token) };
};

const TILES = [
  ["Cases to review", "#/review", async () => ({ number: (await get("/api/admin/cases", { page_size: 1 })).open_total })],
  ["Cases overdue", "#/review?which=overdue", rows("cases", "cases", { overdue_only: true })],
  ["Payouts to approve", "#/payouts", rows("payouts", "payouts", { stages: "awaiting_approval" })],
  ["Payouts unknown or stalled", "#/payouts?which=stuck", rows("payouts", "payouts", { stages: STUCK })],
  ["Payouts past 72 hours", "#/payouts?which=overdue", rows("payouts", "payouts", { overdue_only: true })],
  ["Proposals for a second operator", "#/payouts", rows("proposals", "proposals", { state: "open" })],
  ["Differences with the provider", "#/reconciliation", rows("differences", "differences", {})],
  ["Rules to approve", "#/rules", rows("rules", "rules", { states: "pending_approval" })],
  ["Reserve changes to approve", "#/treasury", rows("reserve-changes", "reserve_changes", { state: "requested" })],
  ["Payments without an order", "#/treasury", rows("unallocated-payments", "payments")],
];

export default async function view() {
  return [
    head("To do", "What waits for a person. Each number leads to where it is done."),
    h("div", { class: "stack" }, h("div", { class: "tiles counts" }, TILES.map(tile)), h("div", { class: "grid" }, card("Cover", cover, { wide: "w6" }), card("Last audit", audit, { wide: "w6" }))),
  ];
}

function tile([title, where, load]) {
  const body = h("div", {}, bones());
  const link = h("a", { class: "card tile", href: where }, h("h2", {}, title), body);
  const show = async () => {
    try {
      const { number, more } = await load();
      link.classList.toggle("waits", Number(number) > 0);
      body.replaceChildren(h("div", { class: "figure" }, count(number), more && "+"), h("small", {}, Number(number) ? "waiting" : "nothing waits"));
    } catch (error) {
      body.replaceChildren(failure(error));
    }
  };
  show();
  return link;
}

async function cover() {
  const found = await get("/api/admin/treasury");
  const solvent = found.coverage_bps >= 10_000 || found.coverage_bps === 0;
  return h("div", { class: "stack" },
    h("div", { class: "row apart" }, h("span", { class: "figure small" }, found.coverage_bps === 0 ? "Nothing to cover" : percent(found.coverage_bps)), h("span", { class: `tag ${solvent ? "good" : "bad"}` }, solvent ? "Solvent" : "Not covered")),
    found.payouts?.paused && h("p", { class: "notice bad" }, `Payouts are paused by ${found.payouts.operator_id}: ${found.payouts.reason}`),
    h("p", {}, money(found.reserve_micro), " in reserve."));
}

async function audit() {
  const [latest] = (await get("/api/admin/audits", { page_size: 1 })).audits;
  if (!latest) return h("p", { class: "faint" }, "No audit has run yet: ", h("a", { href: "#/invariants" }, "start one"), ".");
  return h("p", {}, h("span", { class: `tag ${latest.state === "passed" ? "good" : latest.state === "running" ? "" : "bad"}` }, latest.state), " ", count(latest.rows), " rows read.");
}
