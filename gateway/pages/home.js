import { count, day, h } from "./dom.js";
import { money, precise, sum } from "./money.js";
import { get, post, Problem, session } from "./api.js";
import { card, copying, empty, form, field, tabs, tag } from "./parts.js";
import { head } from "./shell.js";
import { asOf, buckets, byModel, byPart, earnings, lastDays, nextUnlock, statement } from "./earned.js";
import { bars, parts } from "./chart.js";

export default async function view() {
  const found = earnings();
  found.catch(() => {});
  const name = session.claims.sub;
  return [
    head(name ? `Hello, ${name.length > 24 ? `${name.slice(0, 24)}…` : name}` : "Hello", "What your referrals earned you, and what is yours to take out."),
    h("div", { class: "grid" },
      card("Your money", async () => wallet(await found), { wide: "w7" }),
      code(),
      chart(found),
      card("Your rank this week", rank, { wide: "w4", foot: h("p", {}, h("a", { href: "#/leaderboard" }, "The whole board")) })),
  ];
}

function wallet(found) {
  const next = nextUnlock(found);
  return h("div", { class: "stack" },
    h("div", { class: "row apart" },
      h("div", {}, h("small", {}, "You can take out"), h("div", { class: "figure" }, money(found.withdrawable_micro))),
      h("a", { class: "button", href: "#/payouts" }, "Ask for a payout")),
    found.frozen && h("p", { class: "notice bad" }, "Your earnings are frozen while your account is looked at. Nothing is lost by that."),
    next ? h("p", {}, "Next: ", money(next.amount), " unlocks on ", h("b", {}, day(next.at)), ". ", h("a", { href: "#/unlocks" }, "Calendar")) : h("p", { class: "faint" }, "Nothing is waiting for a date to unlock."),
    buckets(found),
    asOf(found.as_of));
}

function code() {
  const section = card("Your code", async () => {
    try {
      return share(await get("/api/referrals/code"));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      return h("div", { class: "stack" }, empty("You have no code yet", "Make one and hand it out: you earn from what those who come with it spend."),
        form(async (given) => {
          await post("/api/referrals/code", given.wish ? { vanity_code: given.wish } : {});
          section.reload();
        }, { label: "Make my code" }, field("Wish", { name: "wish", minlength: 8, maxlength: 12, pattern: "[A-Za-z0-9]*" }, "8 to 12 letters and digits, or nothing for a random one.")));
    }
  }, { wide: "w5" });
  return section;
}

async function share(found) {
  const link = h("div");
  const box = h("div", { class: "stack" },
    h("div", { class: "row apart" }, h("span", { class: "codebox" }, found.code), tag(found.state, found.state === "active" ? "good" : "warn")),
    h("div", { class: "row" }, copying(found.code, "Copy code"), h("small", {}, count(found.uses), found.max_uses ? ` of ${count(found.max_uses)}` : "", " signed up", found.expires_at ? [", until ", day(found.expires_at)] : "")),
    link);
  get("/api/referrals/share").then(
    (given) => link.replaceChildren(h("div", { class: "beside" },
      h("img", { class: "qr", alt: `QR code of ${given.share_url}`, src: `data:image/svg+xml,${encodeURIComponent(given.qr_svg)}` }),
      h("div", { class: "stack" }, h("span", { class: "code" }, given.share_url), h("div", {}, copying(given.share_url, "Copy link"))))),
    () => link.replaceChildren(h("small", {}, "The link and its QR code cannot be shown at the moment; the code itself works.")),
  );
  return box;
}

function chart(found) {
  let by = "model";
  const section = card("Earned in the last 30 days", async () => {
    const days = lastDays((await found).as_of, 30);
    return overTime(by === "model" ? byModel(await statement(days[0], days.at(-1)), days) : await byPart(by, days), days);
  }, { wide: "w8", aside: tabs("Split by", [["model", "By model"], ["channel", "By channel"], ["cohort", "By month of sign-up"]], by, (chosen) => { by = chosen; section.reload(); }) });
  return section;
}

async function overTime(series, days) {
  if (!series.length) return empty("No earnings in these 30 days", "Hand out your code: the first charge of somebody you brought shows up here the day after.");
  return h("div", { class: "stack" }, await bars("Earned per day", days.map((each) => each.slice(5)), series),
    h("details", {}, h("summary", {}, "The 30 days together"), parts(series.map(({ name, amounts }) => ({ name, amount: sum(amounts) })), (row) => precise(row.amount))),
    h("small", {}, "Days that are over, in UTC. What fewer than five people stand behind is put under “other”."));
}

async function rank() {
  const found = await get("/api/referrals/leaderboard/me", { timeframe: "weekly" });
  if (!found.row) return empty("Not on the board this week", "One referral puts you on it.");
  return h("div", { class: "stack" }, h("div", { class: "figure" }, `#${count(found.row.rank)}`),
    h("dl", { class: "pairs" }, h("dt", {}, "Shown as"), h("dd", {}, found.row.display_name), h("dt", {}, "Referrals"), h("dd", {}, count(found.row.referral_count)), h("dt", {}, "Earned"), h("dd", {}, money(found.row.earned_micro)), h("dt", {}, "Streak"), h("dd", {}, `${count(found.row.streak_days)} days`)), asOf(found.as_of));
}
