import { count, h, time } from "./dom.js";
import { money } from "./money.js";
import { get } from "./api.js";
import { card, empty, pages, table, tabs } from "./parts.js";
import { head } from "./shell.js";

const FRAMES = [["daily", "Today"], ["weekly", "This week"], ["monthly", "This month"], ["all_time", "All time"]];

const COLUMNS = [
  { title: "Rank", cell: (row) => `#${count(row.rank)}`, num: true },
  { title: "Who", cell: (row) => h("span", { title: row.display_name }, row.display_name, row.me && h("span", { class: "sr" }, " (you)")), name: true },
  { title: "Referrals", cell: (row) => count(row.referral_count), num: true },
  { title: "Earned", cell: (row) => money(row.earned_micro), num: true },
  { title: "Streak", cell: (row) => `${count(row.streak_days)} d`, num: true },
];
const mark = { row: (row) => (row.me ? { class: "me" } : {}) };

export default async function view() {
  let timeframe = "weekly";
  const mine = card("You and those around you", async () => {
    const found = await get("/api/referrals/leaderboard/me", { timeframe });
    if (!found.row) return empty("You are not on this board", h("span", {}, "One referral puts you on it: ", h("a", { href: "#/" }, "hand out your code"), "."));
    const rows = found.neighbours.some((row) => row.me) ? found.neighbours : [...found.neighbours, found.row].sort((one, other) => one.rank - other.rank);
    return table("You and up to three on either side", COLUMNS, rows, mark);
  });
  const stamp = h("small");
  const all = card("The board", async () => {
    const page = async (token) => {
      const found = await get("/api/referrals/leaderboard", { timeframe, limit: 25, page_token: token });
      stamp.replaceChildren("As of ", time(found.as_of));
      return { rows: found.rows, next: found.next_page_token };
    };
    return pages("Leaderboard", COLUMNS, page, empty("Nobody is on this board yet", "Be the first."), mark);
  }, { aside: stamp });
  const pick = tabs("Period", FRAMES, timeframe, (chosen) => { timeframe = chosen; mine.reload(); all.reload(); });
  return [head("Leaderboard", "Counted in UTC, by people brought, then by earnings. Refreshed once a minute.", pick), h("div", { class: "stack" }, mine, all)];
}
