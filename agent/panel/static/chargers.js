// The charge points as a driver sees them: display, ring, plug, relay, and what runs through the cable.
import { byId, el, facts, fill, mark, say, show } from "./dom.js";
import { showGlass } from "./glass.js";
import { clock, energy, power, signalRhythm, signalWords, since, span } from "./words.js";

const PLUGS = { in: "plugged in", out: "not plugged in", unknown: "no sensor tells" };
const PHASES = {
  available: "free",
  authorizing: "deciding",
  "waiting-for-plug": "waiting for the plug",
  charging: "charging",
  suspended: "paused by the car",
  "waiting-for-unplug": "finished, still plugged in",
  faulted: "out of order",
};

/** Draw every EVSE; `world` is what the world's side knows, or null. */
export function drawChargers(board, world) {
  fill(byId("evses"), board.evses, (evse) => evse.uid, make, (card, evse) => draw(card, evse, board, world));
  byId("evses").dataset.many = board.evses.length > 1;
}

function make(evse) {
  const card = byId("evse-template").content.firstElementChild.cloneNode(true);
  const name = card.querySelector(".evse-name");
  // Like no id of the page's own, and another one for each uid.
  name.id = `name-of-${evse.uid.replace(/[^A-Za-z0-9]/g, (other) => `_${other.codePointAt(0).toString(16)}_`)}`;
  card.setAttribute("aria-labelledby", name.id);
  card.dataset.evse = evse.uid;
  return card;
}

function draw(card, evse, board, world) {
  const hasPower = world?.power !== false;
  const signal = hasPower && evse.signal ? evse.signal : "off";
  // Without power nobody asks the contact; the car is still there.
  const plug = hasPower ? evse.plug : worldPlug(world, evse.uid);
  const scene = card.querySelector(".scene");
  say(card.querySelector(".evse-name"), evse.uid);
  mark(card, "data-signal", signal);
  mark(card, "data-phase", evse.phase);
  mark(scene, "data-plug", plug);
  mark(scene, "data-relay", evse.relay);
  mark(scene, "data-flow", signal === "charging" && evse.relay === "closed");
  say(card.querySelector(".signal-words"), wordsOf(signal, plug, hasPower));
  showGlass(card.querySelector(".glass"), evse.display, hasPower);
  facts(card.querySelector(".facts"), factsOf({ ...evse, plug }, board.at, signal));
  const wrong = troubleOf(evse);
  say(card.querySelector(".evse-trouble"), wrong);
  show(card.querySelector(".evse-trouble"), wrong !== "");
}

function wordsOf(signal, plug, hasPower) {
  if (signal === "off") return hasPower ? "Starting" : "Without power";
  return signal === "done" && plug === "in" ? "Finished: unplug the cable" : signalWords(signal);
}

function worldPlug(world, uid) {
  return world.evses.find((one) => one.uid === uid)?.plugged ? "in" : "out";
}

function factsOf(evse, now, signal) {
  const session = evse.session;
  const relay = { closed: "closed: current may flow", open: "open: no current" }[evse.relay] ?? evse.relay;
  return [
    ["State", evse.live ? PHASES[evse.phase] ?? evse.phase : "takes no card now", evse.live ? null : "bad"],
    ["Ring", signalRhythm(signal)],
    ["Plug", PLUGS[evse.plug] ?? evse.plug],
    ["Relay", relay, evse.relay_fault ? "bad" : evse.relay === "closed" ? "live" : null],
    ["Energy", session && energy(session.energy_wh), "figure"],
    ["Power", session && power(session.power_w), "figure"],
    ["Cost", session && session.cost, "figure"],
    ["Since", session?.since && `${clock(session.since, now)} (${span(since(session.since, now))})`],
  ];
}

function troubleOf(evse) {
  const lost = evse.lost?.length ? `lost: ${evse.lost.join(", ")}` : "";
  return [evse.relay_fault, lost].filter(Boolean).join("; ");
}

/** The verdict's rhythm from its beginning: a second refusal in a row is seen as another one. */
export function replay(uid) {
  const card = cardOf(uid);
  for (const part of card?.querySelectorAll(".ring-lit") ?? []) {
    for (const animation of part.getAnimations()) animation.currentTime = 0;
  }
}

/** A card at the reader, for as long as a hand holds one. */
export function holdCard(uid, label, tint) {
  const held = cardOf(uid)?.querySelector(".held");
  if (!held) return;
  const shown = el("div", { class: `rfid mini tint-${tint}` }, el("span", {}, label));
  held.replaceChildren(shown);
  show(held, true);
  setTimeout(() => {
    if (held.firstChild === shown) show(held, false);
  }, 1300);
}

const cardOf = (uid) => document.querySelector(`.evse[data-evse="${CSS.escape(uid)}"]`);
