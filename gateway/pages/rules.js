import { count, h, short, time, words } from "./dom.js";
import { micro, percent, precise } from "./money.js";
import { newKey, post } from "./api.js";
import { bones, card, choice, empty, failure, field, table } from "./parts.js";
import { head } from "./shell.js";
import { acting, admin } from "./operating.js";

const TONES = { active: "good", cooling_down: "warn", pending_approval: "warn", rejected: "bad" };

export default async function view() {
  let cards = [];
  const reload = () => Promise.all(cards.map((each) => each.reload()));
  cards = [card("Timeline", () => timeline(reload), { wide: "w7" }), card("Kill switch", async () => h("div", { class: "stack" }, h("p", {}, "Sets the referrers' share to nothing at once, after a second operator agreed."), acting("Propose the kill switch", "kill-switch", reload, { danger: true })), { wide: "w5" }), card("What if", () => whatIf(reload)), card("Suspended tiers", tiers)];
  return [head("Rules", "Who gets which part of a charge, since when, and what would change."), h("div", { class: "grid" }, cards)];
}

async function timeline(done) {
  const { rules } = await admin("rules", { page_size: 50 });
  if (!rules.length) return empty("No rules", "Propose the first one beside this.");
  return h("ol", { class: "steps" }, rules.map((rule) =>
    h("li", { style: { "--tone": rule.state === "active" ? "var(--good)" : "var(--brand)" } },
      h("div", { class: "row" }, h("b", {}, `Version ${rule.rule_version}`), h("span", { class: `tag ${TONES[rule.state] ?? ""}` }, words(rule.state)), rule.kill_switch && h("span", { class: "tag bad" }, "Kill switch")),
      h("div", {}, `Referrer ${percent(rule.rates.referrer_bps)} of all; of the rest commons ${percent(rule.rates.commons_bps)}, community ${percent(rule.rates.community_bps)}, foundation ${percent(rule.rates.foundation_bps)}.`),
      h("div", {}, h("small", {}, rule.proposed_by, ": ", rule.reason)),
      h("div", {}, h("small", {}, rule.active_from ? [rule.active_from.startsWith("0001") ? "In force from the beginning" : ["In force from ", time(rule.active_from)], rule.active_to && [" to ", time(rule.active_to)]] : rule.cools_down_until ? ["Cools down until ", time(rule.cools_down_until)] : ["Proposed ", time(rule.proposed_at)])),
      rule.state === "draft" && acting("Submit for approval", `rules/${rule.rule_version}/submit`, done),
      rule.state === "pending_approval" && acting("Decide", (given) => `rules/${rule.rule_version}/${given.decision}`, done, { fields: [choice("Decision", "decision", [["approve", "Approve"], ["reject", "Reject"]])] }))));
}

/** Sliders of the four rates; the three shares of the rest always make the whole. */
async function whatIf(done) {
  const rule = await admin("active-rule");
  const rates = { ...rule.rates };
  const result = h("div", { "aria-live": "polite" }, h("p", { class: "faint" }, "Move a slider: the last 30 days are replayed."));
  const foundation = h("output");
  let timer;
  let turn = 0;
  const simulate = async () => {
    const mine = ++turn;
    result.replaceChildren(bones());
    try {
      const content = effect(await replay(rates));
      if (mine === turn) result.replaceChildren(content);
    } catch (error) {
      if (mine === turn) result.replaceChildren(failure(error, simulate));
    }
  };
  const slider = (title, name, max) => {
    const shown = h("output", {}, percent(rates[name]));
    const input = h("input", { type: "range", min: 0, max, step: 25, value: rates[name], "aria-label": title });
    input.addEventListener("input", () => {
      rates[name] = Number(input.value);
      const other = name === "commons_bps" ? "community_bps" : "commons_bps";
      if (name !== "referrer_bps" && rates[name] + rates[other] > 10_000) {
        rates[name] = 10_000 - rates[other];
        input.value = rates[name];
      }
      rates.foundation_bps = 10_000 - rates.commons_bps - rates.community_bps;
      shown.textContent = percent(rates[name]);
      foundation.textContent = percent(rates.foundation_bps);
      clearTimeout(timer);
      timer = setTimeout(simulate, 300);
    });
    return h("div", { class: "field" }, h("div", { class: "row apart" }, title, shown), input);
  };
  foundation.textContent = percent(rates.foundation_bps);
  return h("div", { class: "beside" },
    h("div", { class: "stack" },
      slider("Referrer, of all", "referrer_bps", 5000), slider("Commons, of the rest", "commons_bps", 10_000), slider("Community, of the rest", "community_bps", 10_000),
      h("div", { class: "row apart" }, h("b", {}, "Foundation, of the rest"), foundation)),
    h("div", { class: "stack more" }, result, h("details", {}, h("summary", {}, "Propose these rates"), acting("Propose", "rules", done, { fields: [field("Cooling days", { name: "days", type: "number", min: 7, max: 365, value: 7 })], body: (given) => ({ rates, cooling_days: Number(given.days) }) }))));
}

async function replay(rates) {
  // Business time may run ahead of this machine's clock: the treasury knows it.
  const now = await admin("treasury").then((found) => found.as_of, () => new Date().toISOString());
  const from = new Date(Date.parse(now) - 30 * 86_400_000).toISOString();
  return post("/api/admin/rule-simulations", { from_time: from, to_time: now, rates, losers: 5 }, { key: newKey() });
}

function effect(found) {
  const parties = [["Referrers", found.referrers], ["Commons", found.commons], ["Communities", found.communities], ["Foundation", found.foundation]];
  return h("div", { class: "stack" }, h("p", {}, count(found.charges), " charges of ", precise(found.revenue_micro), " in 30 days."),
    table("Effect per party", [
      { title: "Party", cell: ([name]) => name },
      { title: "Got", cell: ([, party]) => precise(party.actual_micro), num: true },
      { title: "Would get", cell: ([, party]) => precise(party.simulated_micro), num: true },
      { title: "Difference", cell: ([, party]) => [micro(party.difference_micro) > 0n ? "+" : "", precise(party.difference_micro)], num: true },
    ], parties),
    found.losers.length > 0 && h("details", {}, h("summary", {}, "Creators who would lose most"), found.losers.map((each) => h("div", { class: "row apart" }, short(each.account_ref, 8), precise(each.shares.difference_micro)))));
}

async function tiers() {
  const { suspensions } = await admin("tier-suspensions", { open_only: true });
  if (!suspensions.length) return empty("None", "Every tier's margin carries its referrers.");
  return table("Suspended tiers", [
    { title: "Tier", cell: (each) => each.model_tier, name: true },
    { title: "Since", cell: (each) => time(each.from_time) },
    { title: "Margin", cell: (each) => percent(each.margin_bps), num: true },
  ], suspensions);
}
