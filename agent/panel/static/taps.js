// The last cards: what each came to, why, who decided, and where its time went.
import { byId, el, fill, mark, say, show } from "./dom.js";
import { link, send, trouble } from "./link.js";
import { clock, ms, reasonWords, SOURCES } from "./words.js";

/** In the order of a tap's way. What is left of its total is the way from the reader, and waiting in between. */
const STAGES = [
  ["reader", "Reader"],
  ["whitelist", "Whitelist"],
  ["peer", "Peer"],
  ["record", "Record"],
  ["relay", "Relay"],
];

/** So many are shown without being asked for more; panel.css hides the others. */
const NEWEST = 6;

/** So long a number stands there in clear: time to write it down, and whoever needs it again is on record again. */
const REVEALED_MS = 120_000;

const revealed = new Map();
let newest = null;

/** What is there before the first tap: the colours explained, and the way to older cards. */
export function startTaps() {
  const more = byId("more-taps");
  more.onclick = () => {
    const all = more.getAttribute("aria-expanded") !== "true";
    mark(more, "aria-expanded", String(all));
    mark(byId("taps"), "data-all", all);
    say(more, all ? "Show the newest only" : "Show older cards");
  };
  byId("legend").replaceChildren(
    ...STAGES.map(([stage, name]) => el("li", {}, el("span", { class: `swatch stage-${stage}`, "aria-hidden": "true" }), name)),
  );
}

export function drawTaps(board) {
  newest = board;
  for (const [id, one] of revealed) {
    if (!isStillShown(one)) revealed.delete(id);
  }
  show(byId("no-taps"), board.taps.length === 0);
  show(byId("more-taps"), board.taps.length > NEWEST);
  fill(byId("taps"), board.taps, (tap) => tap.id, make, (row, tap) => draw(row, tap, board));
}

/** To whom it was shown, and no longer than it is known that he is still there. The clock may be set, or sleep: by that
 * much it is forgotten sooner. */
function isStillShown({ user, token, at }) {
  const isTheirs = user === link.login?.user && token === link.token;
  return isTheirs && isLooking() && Math.abs(Date.now() - at) < REVEALED_MS;
}

const isLooking = () => link.state === "live" && document.visibilityState === "visible";

/** Every number is masked again, at once. */
export function forgetRevealed() {
  if (revealed.size === 0) return;
  revealed.clear();
  drawTaps(newest);
}

/** Milliseconds by stage, the remainder of the total being the reader's. */
export function stagesOf(times) {
  const known = ["whitelist", "peer", "record", "relay"].map((stage) => [stage, times?.[stage] ?? 0]);
  const rest = (times?.total ?? 0) - known.reduce((sum, [, value]) => sum + value, 0);
  return new Map([["reader", Math.max(0, rest)], ...known]);
}

function make(tap) {
  return el(
    "li",
    { class: "tap", "data-verdict": tap.verdict },
    el(
      "div",
      { class: "tap-head" },
      el("strong", { class: "verdict" }, tap.verdict),
      el("span", { class: "uid", tabindex: "-1" }),
      el("time", { datetime: tap.at }),
      el("span", { class: "tap-where" }),
    ),
    el("p", { class: "tap-text" }, el("span", { class: "unseen" }, "The driver read: "), el("span", { class: "screen" })),
    el("p", { class: "why" }),
    el("p", { class: "tap-source quiet" }),
    el("div", { class: "bar", "aria-hidden": "true" }, ...STAGES.map(([stage]) => el("span", { class: `stage-${stage}` }))),
    el("div", { class: "against", "aria-hidden": "true" }, el("span")),
    el("p", { class: "tap-times" }),
    el("button", { type: "button", class: "plain reveal", hidden: true }, "Show the whole uid (is recorded)"),
    el("p", { class: "trouble", role: "alert" }),
  );
}

function draw(row, tap, board) {
  const part = (name) => row.querySelector(name);
  mark(row, "data-verdict", tap.verdict);
  say(part(".verdict"), tap.verdict);
  say(part(".uid"), revealed.get(tap.id)?.uid ?? tap.uid);
  say(part(".tap-where"), `${tap.evse ?? "no EVSE"} · ${tap.reader}`);
  say(part("time"), clock(tap.at, board.at));
  say(part(".screen"), tap.text);
  show(part(".tap-text"), Boolean(tap.text));
  say(part(".why"), (!PLAIN.has(tap.reason) && tap.why) || reasonWords(tap.reason));
  say(part(".tap-source"), sourceOf(tap));
  drawTimes(row, tap);
  const button = part(".reveal");
  show(button, Boolean(board.login?.user) && !revealed.has(tap.id));
  mark(button, "aria-label", `${button.textContent}: card ${tap.uid} at ${clock(tap.at, board.at)}`);
  button.onclick = () => reveal(row, tap);
}

/** Reasons whose sentence in the record names a number that is nowhere on this page. */
const PLAIN = new Set(["stopped-same-card", "stopped-group-card", "evse-in-use"]);

/** Reasons for which no peer was asked, as none is where the list decides: the moment that it took to find that out is
 * not one of a peer's. */
const NOT_ASKED = { "no-peer": "there was nobody to ask: the fallback", "breaker-open": "nobody was asked: the fallback" };

function sourceOf(tap) {
  const who = NOT_ASKED[tap.reason] ?? SOURCES[tap.source] ?? tap.source;
  const peer = tap.peer ? ` (${tap.peer})` : "";
  const record = tap.recorded === false ? " · not on record" : "";
  const reference = tap.reference ? ` · reference ${tap.reference}` : "";
  return `${tap.reason} · ${who}${peer}${reference}${record}`;
}

function drawTimes(row, tap) {
  const isAsked = !["whitelist", "local"].includes(tap.source) && !(tap.reason in NOT_ASKED);
  const stages = stagesOf(isAsked ? tap.times_ms : { ...tap.times_ms, peer: 0 });
  const total = tap.times_ms?.total ?? 0;
  const has = Boolean(tap.times_ms);
  show(row.querySelector(".bar"), has);
  show(row.querySelector(".against"), has);
  show(row.querySelector(".tap-times"), has);
  if (!has) return;
  for (const [stage, value] of stages) {
    row.querySelector(`.bar .stage-${stage}`).style.setProperty("--share", total ? value / total : 0);
  }
  const used = tap.deadline_ms ? Math.min(1, total / tap.deadline_ms) : 0;
  row.querySelector(".against span").style.setProperty("--share", used);
  mark(row, "data-late", tap.deadline_ms && total > tap.deadline_ms);
  const went = STAGES.filter(([stage]) => stages.get(stage) >= 0.05).map(([stage, name]) => `${name.toLowerCase()} ${ms(stages.get(stage))}`);
  say(row.querySelector(".tap-times"), `${ms(total)} of ${ms(tap.deadline_ms)}${went.length ? `: ${went.join(", ")}` : ""}`);
}

async function reveal(row, tap) {
  const user = link.login?.user;
  const answer = await send("/reveal", { tap: tap.id });
  const wrong = row.querySelector(".trouble");
  if (answer.status !== 200) {
    say(wrong, trouble(answer));
    return;
  }
  if (user !== link.login?.user || !isLooking()) {
    say(wrong, "Not shown: the page was not live when it came.");
    return;
  }
  revealed.set(tap.id, { uid: answer.body.uid, user, token: link.token, at: Date.now() });
  say(wrong, "");
  drawTaps(newest);
  row.querySelector(".uid").focus();
}
