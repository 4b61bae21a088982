import { count, h } from "./dom.js";
import { money, precise, sum } from "./money.js";
import { download } from "./api.js";
import { card, empty, failure, field, form, pages, slices, tell } from "./parts.js";
import { head } from "./shell.js";
import { buckets, byModel, earnings, iso, lastDays, statement } from "./earned.js";
import { bars } from "./chart.js";

export default async function view() {
  const found = earnings();
  found.catch(() => {});
  const now = await found.then((each) => each.as_of, () => iso(Date.now()));
  let [from, to] = [lastDays(now, 30)[0], now.slice(0, 10)];
  const lines = card("Day by day", async () => sheet(await statement(from, to), from, to));
  const range = form(async (given) => { [from, to] = [given.from, given.to]; await lines.reload(); }, { label: "Show", inline: true },
    field("From", { name: "from", type: "date", value: from, required: true }), field("To", { name: "to", type: "date", value: to, required: true }));
  const save = h("button", { type: "button", onclick: async () => {
    try {
      await download("/api/creator/statement.csv", { from_day: from, to_day: to }, `statement-${from}-${to}.csv`);
      tell("Saved");
    } catch (error) {
      save.after(failure(error));
    }
  } }, "Download as CSV");
  return [
    head("Earnings", "Per day and model, in UTC. Single people are never shown.", save),
    h("div", { class: "stack" }, card("Everything you ever earned", async () => buckets(await found)), h("section", { class: "card", "aria-label": "Period" }, range), lines),
  ];
}

async function sheet(lines, from, to) {
  if (!lines.length) return empty("Nothing in this period", "Choose another one, or hand out your code.");
  const days = [];
  for (let at = Date.parse(from); at <= Date.parse(to) && days.length < 400; at += 86_400_000) days.push(iso(at));
  const total = (name) => sum(lines.map((line) => line[name]));
  return h("div", { class: "stack" },
    await bars("Earned per day and model", days.map((each) => each.slice(5)), byModel(lines, days)),
    h("p", {}, "In this period: ", precise(total("accrued_micro")), " earned, ", precise(total("reversed_micro")), " taken back after refunds."),
    await pages("Earnings per day and model", [
      { title: "Day", cell: (line) => line.day },
      { title: "Model", cell: (line) => h("span", { title: line.model }, line.model), name: true },
      { title: "Charges", cell: (line) => count(line.charges), num: true },
      { title: "Earned", cell: (line) => money(line.accrued_micro), num: true },
      { title: "Taken back", cell: (line) => money(line.reversed_micro), num: true },
    ], slices(lines.toReversed())));
}
