import { h } from "./dom.js";
import { session } from "./api.js";
import { run } from "./shell.js";

run({
  title: "Creator economy",
  welcome: "See what you earn",
  account: "alice",
  scope: "creator",
  get other() {
    return session.scopes.some((scope) => scope.startsWith("admin:")) && h("a", { href: "/admin" }, "For operators");
  },
  pages: [
    ["", "Home", () => import("./home.js")],
    ["earnings", "Earnings", () => import("./earnings.js")],
    ["unlocks", "Unlock calendar", () => import("./unlocks.js")],
    ["referrals", "Referrals", () => import("./referrals.js")],
    ["leaderboard", "Leaderboard", () => import("./board.js")],
    ["payouts", "Payouts", () => import("./payouts.js")],
    ["wallets", "Score and wallets", () => import("./wallets.js")],
    ["profile", "Profile and privacy", () => import("./profile.js")],
  ],
});
