import { day, h, short, time, words } from "./dom.js";
import { money, precise, typed } from "./money.js";
import { get, newKey, post, Problem } from "./api.js";
import { card, choice, copying, empty, failure, field, form, pages, tell } from "./parts.js";
import { head } from "./shell.js";
import { earnings } from "./earned.js";
import { personalSign } from "./ethereum.js";

export const TONES = { pending: "brand", processing: "warn", completed: "good", failed: "bad" };

const STAGES = {
  requested: "Written down; its money is being set aside",
  awaiting_confirmation: "Waits for the address to be confirmed",
  awaiting_approval: "Waits for an operator's approval",
  queued: "Waits for its turn to be sent",
  submitting: "Being handed to the payment provider",
  processing: "The payment provider has it",
  rejected: "The provider refused it; it is tried again or given back",
  unknown: "We are asking the provider whether it has it",
  stalled: "No news for a day: our people are looking",
  completed: "Sent",
  failed: "Failed; the money is yours again",
  cancelled: "Cancelled; the money is yours again",
  declined: "Declined; the money is yours again",
};

export const stage = (payout) => h("span", { class: `tag ${TONES[payout.state] ?? ""}`, title: STAGES[payout.stage] ?? "" }, words(payout.stage ?? payout.state));

export default async function view(id) {
  return id ? one(id) : all();
}

async function all() {
  const found = earnings();
  found.catch(() => {});
  return [
    head("Payouts", "From what is withdrawable, in crypto, at most once a day. It takes up to 72 hours."),
    h("div", { class: "grid" },
      card("Ask for a payout", async () => ask(await found), { wide: "w5" }),
      card("Your payouts", list, { wide: "w7" })),
  ];
}

const list = () =>
  pages("Your payouts", [
    { title: "Asked for", cell: (each) => h("a", { href: `#/payouts/${each.payout_id}` }, day(each.requested_at)) },
    { title: "Amount", cell: (each) => money(each.amount_micro), num: true },
    { title: "In", cell: (each) => each.currency },
    { title: "To", cell: (each) => short(each.destination_address, 6) },
    { title: "State", cell: stage },
  ], async (token) => {
    const found = await get("/api/creator/payouts", { page_token: token });
    return { rows: found.payouts, next: found.next_page_token };
  }, empty("No payouts yet", "The first one waits here from the moment you ask for it."));

async function ask(found) {
  const currencies = await get("/api/payouts/currencies").then((answer) => answer.currencies, () => null);
  const holder = h("div");
  const amount = field("Amount in dollars", { name: "amount", inputmode: "decimal", required: true, placeholder: "25.00" }, "At least $10, no more than is withdrawable.");
  const currency = currencies
    ? choice("Currency", "currency", currencies.filter((each) => each.available).map((each) => [each.currency, `${each.name} (${each.network})`]))
    : field("Currency", { name: "currency", required: true, placeholder: "usdttrc20", maxlength: 32 }, "Ticker at the payment provider.");
  const quoting = form(async (given) => {
    holder.replaceChildren();
    const wish = typed(given.amount);
    if (wish === null) throw new Problem(400, { detail: "Write the amount in digits, with up to six decimals." });
    const body = { amount_micro: wish, currency: given.currency, destination_address: given.address };
    holder.replaceChildren(offer(await post("/api/payouts/quote", body), body, given.memo));
    holder.querySelector("button").focus();
  }, { label: "What would arrive?" }, amount, currency,
  field("Address", { name: "address", required: true, maxlength: 128, spellcheck: "false" }, "Check it twice: what is sent cannot be fetched back."),
  field("Memo or tag", { name: "memo", maxlength: 128 }, "Only where the currency needs one."));
  return h("div", { class: "stack" }, h("div", {}, h("small", {}, "Withdrawable"), h("div", { class: "figure small" }, precise(found.withdrawable_micro))), quoting, holder);
}

function offer(answer, body, memo) {
  const quote = answer.quote ?? answer;
  const key = newKey();
  const request = form(async () => {
    const wanted = { ...body, quote_id: quote.quote_id };
    if (memo) wanted.memo = memo;
    const made = await post("/api/payouts/request", wanted, { key });
    tell("Asked for");
    location.hash = `#/payouts/${(made.payout ?? made).payout_id}`;
  }, { label: "Ask for this payout" });
  return h("section", { class: "stack", "aria-label": "Offer" }, h("h3", {}, "Offer"),
    h("dl", { class: "sums" }, h("dt", {}, "Amount"), h("dd", {}, precise(quote.amount_micro)), h("dt", {}, "Expected fee"), h("dd", {}, precise(quote.fee_micro)), h("dt", { class: "total" }, "Arrives, about"), h("dd", { class: "total" }, precise(quote.net_micro)), h("dt", {}), h("dd", {}, h("small", {}, quote.net_amount, " ", quote.currency))),
    h("small", {}, "Stands until ", time(quote.expires_at)),
    answer.needs_confirmation && h("small", {}, "You will be asked to confirm the address."),
    answer.needs_approval && h("small", {}, "An amount like this waits for our approval."),
    request);
}

async function one(id) {
  const history = card("Every step", async () => steps((await load(id)).history), { wide: "w5" });
  const detail = card("Payout", () => show(id, () => { detail.reload(); history.reload(); }), { wide: "w7" });
  return [head("Payout", null, h("a", { class: "button", href: "#/payouts" }, "All payouts")), h("div", { class: "grid" }, detail, history)];
}

async function load(id) {
  const found = await get(`/api/payouts/${encodeURIComponent(id)}`);
  return { payout: found.payout ?? found, history: found.history ?? [] };
}

export const steps = (history) =>
  history.length === 0
    ? empty("Nothing yet", null)
    : h("ol", { class: "steps" }, history.toReversed().map((change) =>
        h("li", { style: { "--tone": `var(--${{ completed: "good", failed: "bad", processing: "warn" }[change.state] ?? "brand"})` } },
          h("b", {}, words(change.stage)), change.round > 1 && h("small", {}, ` round ${change.round}`), h("div", {}, STAGES[change.stage] ?? ""), change.reason && h("div", {}, h("small", {}, words(change.reason))), h("small", {}, time(change.changed_at)))));

async function show(id, reload) {
  const { payout } = await load(id);
  const act = (label, path, body, options) => form(async () => {
    await post(`/api/payouts/${encodeURIComponent(id)}/${path}`, body, { key: newKey() });
    tell("Done");
    reload();
  }, { label, ...options });
  const rows = [
    ["Amount", precise(payout.amount_micro)],
    [payout.fee_final ? "Fee" : "Fee, expected", precise(payout.fee_micro)],
    [payout.fee_final ? "Arrived" : "Arrives, about", precise(payout.net_micro)],
    ["Currency", payout.currency],
    ["To", h("span", { class: "code" }, payout.destination_address)],
    payout.memo && ["Memo", payout.memo],
    payout.sent_amount && ["Sent", `${payout.sent_amount} ${payout.currency}`],
    payout.transaction_hash && ["Transaction", h("span", { class: "row" }, h("span", { class: "code" }, payout.transaction_hash), copying(payout.transaction_hash))],
    payout.reason && ["Why", words(payout.reason)],
    ["Asked for", time(payout.requested_at)],
  ].filter(Boolean);
  return h("div", { class: "stack" },
    h("div", { class: "row apart" }, h("span", { class: "figure" }, money(payout.amount_micro)), stage(payout)),
    h("p", {}, STAGES[payout.stage] ?? ""),
    payout.stage === "awaiting_confirmation" && confirm(id, payout, reload),
    h("dl", { class: "pairs" }, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    payout.state === "pending" && act("Cancel it", "cancel", undefined, { danger: true }),
    payout.retryable && act("Try it again", "retry"));
}

function confirm(id, payout, reload) {
  const holder = h("div", {});
  const path = `/api/payouts/${encodeURIComponent(id)}`;
  const settle = async (proof) => {
    await post(`${path}/confirm`, proof, { key: newKey() });
    tell("Confirmed");
    reload();
  };
  const build = (confirmation) => {
    if (confirmation?.method !== "signature") {
      return form((given) => settle({ typed_address: given.address.trim() }), { label: "Confirm" }, field("Type the address again", { name: "address", required: true, maxlength: 128, spellcheck: "false" }, "A new address then waits 24 hours before anything is sent there."));
    }
    return signing(confirmation.text, payout.destination_address, (signature) => settle({ signature }));
  };
  const fresh = h("button", { type: "button", class: "plain", onclick: async () => {
    try {
      const made = await post(`${path}/challenge`);
      holder.replaceChildren(build(made.confirmation ?? made));
    } catch (error) {
      holder.replaceChildren(failure(error));
    }
  } }, "Give me a fresh text");
  holder.append(build(payout.confirmation));
  return h("section", { class: "notice warn", "aria-label": "Confirm the address" }, h("h3", {}, "Confirm the address"), holder, payout.confirmation?.method === "signature" && fresh);
}

/** A text to sign with a wallet in the browser, or anywhere else. */
export function signing(text, address, settle) {
  const wallet = globalThis.ethereum
    ? form(async () => settle(await personalSign(text, address)), { label: "Sign with my browser's wallet" })
    : h("small", {}, "This browser has no wallet. Sign the text with yours and paste the signature.");
  return h("div", { class: "stack" }, h("pre", { tabindex: "0", "aria-label": "Text to sign" }, text), h("div", {}, copying(text, "Copy text")), wallet,
    form((given) => settle(given.signature.trim()), { label: "Send signature", main: !globalThis.ethereum }, field("Signature", { name: "signature", required: true, spellcheck: "false", pattern: "\\s*(0x)?[0-9a-fA-F]{130,}\\s*" }, "0x and 130 hex digits.")));
}
