// "Show me an outage": the same outage, two cards, and why only one of them charges.
import { byId, el, say, show } from "./dom.js";
import { link, until } from "./link.js";
import { masked, ms, reasonWords } from "./words.js";

/** Beyond the deadline: the record, the way to this page, and a slow machine. */
const PATIENCE_MS = 15_000;

const WHY = {
  listed: "Its owner has put it on this charge point’s list and lets the list decide. Nobody needs to be asked, so the outage costs its driver nothing.",
  never: "Its owner wants to be asked every time (whitelist NEVER). Now nobody answers, and for such a card there is no fallback: the charge point must not guess.",
};

let parts = null;
/** The EVSE at which the story was last told to its end. */
let toldAt = null;

/** `world` gives the world's state, `act` changes it, `tap` holds a card to an EVSE's reader. */
export function startGuide(given) {
  parts = given;
  byId("guide").onclick = async () => {
    const button = byId("guide");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    await guide();
    button.removeAttribute("aria-disabled");
  };
  byId("guide-end").onclick = async () => {
    await parts.act("/world/weather", { weather: "fine" });
    show(byId("guide-result"), false); // it tells of an outage that is over
    byId("guide").focus();
  };
}

/** The two cards of the story, as the wallet describes them. */
export function pairOf(wallet) {
  const never = wallet.find((card) => /\bNEVER\b/.test(card.what) && !/block|expired|credit|invalid|not valid/i.test(card.what));
  const isListed = (card) => /\b(ALWAYS|ALLOWED)\b/.test(card.what) && !/invalid|not valid|no longer/i.test(card.what);
  return [wallet.find((card) => isListed(card) && card.what.includes("ALWAYS")) ?? wallet.find(isListed), never];
}

async function guide() {
  const [listed, never] = pairOf(parts.world().wallet);
  const evse = freeEvse() ?? (await freed(listed));
  show(byId("guide-result"), true);
  show(byId("guide-end"), parts.world().weather === "down");
  byId("guide-pair").replaceChildren();
  if (!listed || !never) return tell("This wallet lacks an ALWAYS or a NEVER card.", "");
  if (!parts.world().power) return tell("The charge point has no power.", "Give it the power back, then try again.");
  if (!evse) return tell("Every charge point is in use.", "Unplug the car of one that charges, or let the minute of an accepted card run out; then try again.");
  tell("The peer’s server is down…", "");
  if (!(await parts.act("/world/weather", { weather: "down" }))) return tell("The weather could not be changed.", "");
  // The refused card first: it leaves the charge point free for the other.
  const refused = await held(evse, never);
  const accepted = refused && (await held(evse, listed));
  toldAt = accepted ? evse : null;
  show(byId("guide-end"), true);
  if (!accepted) return tell("A card was not decided.", "See the charge point above: is its reader there?");
  byId("guide-pair").replaceChildren(result(listed, accepted, WHY.listed), result(never, refused, WHY.never));
  tell("Same outage, two cards", sumOf(accepted, refused));
  // Whoever has gone on meanwhile stays where they are.
  if ([byId("guide"), document.body].includes(document.activeElement)) byId("guide-title").focus();
}

function freeEvse() {
  const known = new Set(parts.world().evses.map((evse) => evse.uid));
  return link.board?.evses.find((evse) => known.has(evse.uid) && evse.phase === "available")?.uid;
}

/** Where this story's card still waits for the plug from the last telling, held once more it takes that back. */
async function freed(listed) {
  const waits = link.board?.evses.find((evse) => evse.uid === toldAt && evse.phase === "waiting-for-plug");
  if (!listed || !waits || !(await parts.tap(toldAt, listed))) return undefined;
  return until(freeEvse, PATIENCE_MS);
}

/** Hold a card, and wait for the tap that it became. */
async function held(evse, card) {
  const before = new Set(link.board.taps.map((tap) => tap.id));
  if (!(await parts.tap(evse, card))) return null;
  const isIt = (tap) => !before.has(tap.id) && tap.uid === masked(card.uid) && tap.evse === evse;
  return until((board) => board.taps.find(isIt), (link.board.agent.policy?.deadline_ms ?? 5000) + PATIENCE_MS);
}

function result(card, tap, why) {
  return el(
    "div",
    { class: "guide-card", "data-verdict": tap.verdict },
    el("h4", {}, card.label),
    el("p", { class: "quiet" }, card.what),
    el("p", { class: "guide-verdict" }, el("strong", { class: "verdict" }, tap.verdict), ` in ${ms(tap.times_ms?.total)}`),
    el("p", { class: "screen" }, tap.text),
    el("p", {}, why),
    el("p", { class: "quiet" }, `The record says: ${tap.why || reasonWords(tap.reason)}`),
  );
}

function sumOf(accepted, refused) {
  if (accepted.verdict === "accepted" && refused.verdict === "refused") {
    return "Both cards are good. Only the first may be decided without its owner, and that is what its owner has agreed to.";
  }
  return `The first was ${accepted.verdict}, the second ${refused.verdict}: the records above say why.`;
}

function tell(title, sum) {
  say(byId("guide-title"), title);
  say(byId("guide-sum"), sum);
}
