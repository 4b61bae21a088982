import { count, h, short, time, words } from "./dom.js";
import { money, precise } from "./money.js";
import { card, choice, empty, table, tabs } from "./parts.js";
import { head, wanted as asked } from "./shell.js";
import { acting, admin, listed } from "./operating.js";
import { stage, steps } from "./payouts.js";

export const STUCK = ["unknown", "stalled"];
const VIEWS = [["awaiting_approval", "To approve"], ["stuck", "Unknown or stalled"], ["overdue", "Past 72 hours"], ["", "All"]];

export default async function view(id) {
  return id ? one(id) : all();
}

async function all() {
  let wanted = asked("which") || "awaiting_approval";
  const queue = card("Payouts", () => listed("Payouts", [
    { title: "Asked for", cell: ({ payout }) => h("a", { href: `#/payouts/${payout.payout_id}` }, time(payout.requested_at)) },
    { title: "Who", cell: (each) => short(each.account_id || each.account_ref, 8), name: true },
    { title: "Amount", cell: ({ payout }) => money(payout.amount_micro), num: true },
    { title: "Approvals", cell: (each) => `${each.approvals.length} of ${each.approvals_needed}`, num: true },
    { title: "Stage", cell: ({ payout }) => stage(payout) },
    { title: "Promised by", cell: (each) => time(each.promised_by) },
  ], "payouts", "payouts", empty("None", "Nothing of this kind waits."), { query: wanted === "overdue" ? { overdue_only: true } : { stages: wanted === "stuck" ? STUCK : wanted } }),
  { aside: tabs("Which", VIEWS, wanted, (chosen) => { wanted = chosen; queue.reload(); }) });
  const proposals = card("Proposals that wait for a second operator", async () => listed("Proposals", [
    { title: "Proposed", cell: (each) => time(each.proposed_at) },
    { title: "What", cell: (each) => words(each.kind) },
    { title: "Payout", cell: (each) => h("a", { href: `#/payouts/${each.payout_id}` }, short(each.payout_id, 6)) },
    { title: "By", cell: (each) => each.proposed_by, name: true },
    { title: "Why", cell: (each) => each.reason, name: true },
  ], "proposals", "proposals", empty("None", "Nobody waits for a second pair of eyes."), { query: { state: "open" } }));
  return [head("Payouts", "Approve, decline, look after what got stuck."), h("div", { class: "stack" }, queue, proposals, card("The provider", provider))];
}

async function provider() {
  const found = await admin("provider");
  return h("div", { class: "stack" },
    h("p", {}, h("span", { class: `tag ${found.open ? "good" : "bad"}` }, found.open ? "Open" : "Closed"), " ", found.reason, ` ${count(found.queued)} wait for their turn. `, h("small", {}, "Looked at ", time(found.checked_at))),
    table("Balances at the provider", [
      { title: "Currency", cell: (each) => each.currency },
      { title: "Amount", cell: (each) => each.amount, num: true },
      { title: "Of it pending", cell: (each) => each.pending_amount, num: true },
    ], found.balances));
}

async function one(id) {
  let cards = [];
  const reload = () => Promise.all(cards.map((each) => each.reload()));
  const load = () => admin(`payouts/${encodeURIComponent(id)}`);
  cards = [
    card("Payout", async () => show(await load(), reload), { wide: "w7" }),
    card("Every step", async () => steps((await load()).history), { wide: "w5" }),
    card("Attempts at the provider", async () => attempts((await load()).submissions)),
    card("Proposals", async () => proposed((await load()).proposals, reload)),
  ];
  return [head("Payout", null, h("a", { class: "button", href: "#/payouts" }, "All payouts")), h("div", { class: "grid" }, cards)];
}

function show(found, done) {
  const { payout, ...record } = found.payout;
  const path = `payouts/${payout.payout_id}`;
  const waits = payout.stage === "awaiting_approval";
  const stuck = STUCK.includes(payout.stage);
  return h("div", { class: "stack" },
    h("div", { class: "row apart" }, h("span", { class: "figure" }, money(payout.amount_micro)), stage(payout)),
    h("dl", { class: "pairs" },
      h("dt", {}, "Who"), h("dd", {}, h("code", {}, record.account_id || record.account_ref)),
      h("dt", {}, "To"), h("dd", {}, h("span", { class: "code" }, payout.destination_address), " (", payout.currency, ")"),
      h("dt", {}, "Amount"), h("dd", {}, precise(payout.amount_micro)), h("dt", {}, "Fee"), h("dd", {}, precise(payout.fee_micro)),
      h("dt", {}, "Since last verified"), h("dd", {}, precise(record.cumulative_micro)),
      h("dt", {}, "Needs approval"), h("dd", {}, record.approval_reasons.map(words).join(", ") || "–"),
      h("dt", {}, "Approved by"), h("dd", {}, record.approvals.map((each) => h("div", {}, each.operator_id, ": ", each.reason, " ", h("small", {}, time(each.approved_at)))), ` ${record.approvals.length} of ${record.approvals_needed}`),
      payout.transaction_hash && [h("dt", {}, "Transaction"), h("dd", {}, h("span", { class: "code" }, payout.transaction_hash))]),
    waits && acting("Approve", `${path}/approve`, done),
    waits && acting("Decline", `${path}/decline`, done, { danger: true }),
    payout.state === "pending" && !waits && acting("Stop it", `${path}/stop`, done, { danger: true }),
    stuck && acting("Look it up again", `${path}/recheck`, done));
}

const attempts = (rows) =>
  rows.length === 0 ? empty("None yet", "It was not handed to the provider.") : table("Attempts", [
    { title: "Attempt", cell: (each) => `${each.attempt} (round ${each.round})` },
    { title: "Provider says", cell: (each) => each.provider_state || "–" },
    { title: "Id there", cell: (each) => each.provider_payout_id || "–" },
    { title: "Amount", cell: (each) => each.amount, num: true },
    { title: "Verified", cell: (each) => time(each.verified_at) },
    { title: "Looked up", cell: (each) => time(each.checked_at) },
  ], rows);

function proposed(rows, done) {
  if (!rows.length) return empty("None", "Something that needs two operators shows up here.");
  return h("div", { class: "stack" }, rows.map((each) =>
    h("section", { class: "stack", "aria-label": words(each.kind) }, h("h3", {}, words(each.kind), " ", h("span", { class: "tag" }, words(each.state))), h("p", {}, each.reason, " ", h("small", {}, each.proposed_by, ", ", time(each.proposed_at))),
      each.proof && h("p", {}, h("code", {}, each.proof)),
      each.state === "open" && acting("Decide", `proposals/${each.proposal_id}/decide`, done, { fields: [choice("Decision", "decision", [["yes", "Agree"], ["no", "Drop it"]])], body: (given) => ({ approve: given.decision === "yes" }) }))));
}
