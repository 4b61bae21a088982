import { h, time, words } from "./dom.js";
import { micro, money, percent, precise, sum, typed } from "./money.js";
import { Problem } from "./api.js";
import { card, choice, empty, field } from "./parts.js";
import { head } from "./shell.js";
import { acting, admin, listed } from "./operating.js";
import { bars } from "./chart.js";

export default async function view() {
  let cards = [];
  const reload = () => Promise.all(cards.map((each) => each.reload()));
  cards = [card("Cover", cover, { wide: "w7" }), card("Payouts switch", () => paused(reload), { wide: "w5" }), card("Reserve changes", () => changes(reload)), card("Payments without an order", unallocated)];
  return [head("Treasury", "What stands behind what creators may take out."), h("div", { class: "grid" }, cards)];
}

async function cover() {
  const found = await admin("treasury");
  const owed = sum([found.settled_micro, found.held_micro]);
  const rows = [["Reserve", found.reserve_micro], ["Settled", found.settled_micro], ["Held for payouts", found.held_micro], ["Pending (need not be backed)", found.pending_micro], ["In flight", found.in_flight_micro], ["Lost to refunds", found.clawback_loss_micro]];
  const solvent = micro(found.reserve_micro) >= owed;
  return h("div", { class: "stack" },
    h("div", { class: "row apart" }, h("span", { class: "figure small" }, owed === 0n ? "Nothing to cover" : percent(found.coverage_bps)), h("span", { class: `tag ${solvent ? "good" : "bad"}` }, solvent ? "Solvent" : "Not covered")),
    await bars("Reserve beside what it must cover", ["Reserve", "To cover"], [
      { name: "Reserve", amounts: [found.reserve_micro, "0"] }, { name: "Settled", amounts: ["0", found.settled_micro] }, { name: "Held", amounts: ["0", found.held_micro] },
    ]),
    h("dl", { class: "sums" }, rows.map(([name, amount]) => [h("dt", {}, name), h("dd", {}, precise(amount))])), h("small", {}, "As of ", time(found.as_of)));
}

async function paused(done) {
  const { payouts } = await admin("treasury");
  return h("div", { class: "stack" },
    h("p", {}, h("span", { class: `tag ${payouts?.paused ? "bad" : "good"}` }, payouts?.paused ? "Paused" : "Open"), payouts?.operator_id && ` by ${payouts.operator_id}: ${payouts.reason}`),
    payouts?.changed_at && h("small", {}, time(payouts.changed_at)),
    payouts?.paused ? acting("Resume payouts", "treasury/resume-payouts", done) : acting("Pause payouts", "treasury/pause-payouts", done, { danger: true }));
}

async function changes(done) {
  const list = await listed("Reserve changes", [
    { title: "Asked", cell: (each) => time(each.requested_at) },
    { title: "Which way", cell: (each) => words(each.direction) },
    { title: "Amount", cell: (each) => money(each.amount_micro), num: true },
    { title: "By", cell: (each) => each.requested_by, name: true },
    { title: "Why", cell: (each) => each.reason, name: true },
    { title: "State", cell: (each) => h("span", { class: `tag ${{ approved: "good", requested: "warn" }[each.state] ?? ""}` }, words(each.state)) },
    { title: "", cell: (each) => each.state === "requested" && h("details", {}, h("summary", {}, "Decide"), acting("Decide", (given) => `reserve-changes/${each.reserve_change_id}/${given.decision}`, done, { fields: [choice("Decision", "decision", [["approve", "Approve"], ["reject", "Reject"]])] })) },
  ], "reserve-changes", "reserve_changes", empty("No reserve change yet", "Ask for the first one below; another operator approves it."));
  const ask = acting("Ask for it", "reserve-changes", done, {
    fields: [choice("Which way", "direction", [["top_up", "Into the reserve"], ["withdrawal", "Out of the reserve"]]), field("Amount in dollars", { name: "amount", required: true, inputmode: "decimal" })],
    body: (given) => ({ direction: given.direction, amount_micro: amount(given.amount) }),
  });
  return h("div", { class: "stack" }, list, ask);
}

/** What was typed as micro-USD; throws Problem where it is no amount. */
export function amount(text) {
  const found = typed(text);
  if (found === null) throw new Problem(400, { detail: "Write the amount in digits, with up to six decimals." });
  return found;
}

const unallocated = () =>
  listed("Payments without an order", [
    { title: "Came", cell: (each) => time(each.reported_at) },
    { title: "Payment", cell: (each) => each.payment_id, name: true },
    { title: "Amount", cell: (each) => money(each.paid_micro), num: true },
    { title: "Why", cell: (each) => words(each.unallocated_reason) },
  ], "unallocated-payments", "payments", empty("None", "Every payment found its order."));
