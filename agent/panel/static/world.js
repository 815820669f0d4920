// The demo's other side: cards to hold to a reader, the plug, the power, and the peer's weather.
//
// A real charge point has no /world/state, and then none of this is shown.
import { byId, el, fill, mark, say, show } from "./dom.js";
import { ask, send, trouble } from "./link.js";
import { holdCard } from "./chargers.js";
import { startGuide } from "./guide.js";
import { masked, weatherWords } from "./words.js";

const LOOK_MS = 1500;

/** A card is answered once it is decided, after the deadline at the latest; a power cut takes a start of the agent. */
const ACT_MS = 60_000;

/** What the world's side knows, as GET /world/state gave it; null where there is none. */
export let world = null;

let target = null;
let asking = false;

/** Look for a world, and where there is one keep looking: `drawn` is called after each look that brought something. */
export async function startWorld(drawn) {
  await look(drawn);
  if (!world) return;
  startGuide({ world: () => world, act: (path, body) => act(path, body, drawn), tap: (evse, card) => hold(evse, card, drawn) });
  byId("power").onclick = () => act("/world/power", { on: !world.power }, drawn);
  setInterval(() => document.visibilityState === "visible" && look(drawn), LOOK_MS);
}

async function look(drawn) {
  if (asking) return;
  asking = true;
  const answer = await ask("/world/state");
  asking = false;
  if (answer.status !== 200) return;
  world = answer.body;
  draw(drawn);
  drawn();
}

/** Change the world; says what went wrong. Gives whether it was done. */
async function act(path, body, drawn) {
  const answer = await send(path, body, ACT_MS);
  const done = answer.status === 200;
  say(byId("world-trouble"), done ? "" : trouble(answer));
  await look(drawn);
  return done;
}

async function hold(evse, card, drawn) {
  holdCard(evse, card.label, tintOf(card));
  const answer = await send("/world/tap", { evse, uid: card.uid }, ACT_MS);
  const done = answer.status === 200;
  say(byId("world-trouble"), done ? "" : trouble(answer));
  drawHeld(evse, card, (done && answer.body) || {});
  await look(drawn);
  return done;
}

/** What became of the card, where whoever holds it looks: the charge point may be far up the page. */
function drawHeld(evse, card, { verdict, text }) {
  const line = byId("held-outcome");
  show(line, Boolean(verdict));
  mark(line, "data-verdict", verdict ?? "");
  say(line, verdict ? `${card.label} at ${evse}: ${verdict}. ${inOneLine(text ?? "")}` : "");
}

/** A display's lines: one that goes on in small letters was only broken for want of room. */
const inOneLine = (text) => text.replace(/\n(?=\p{Ll})/gu, " ").replaceAll("\n", " · ");

const tintOf = (card) => world.wallet.findIndex((one) => one.uid === card.uid) % 6;

function draw(drawn) {
  show(byId("world"), true);
  const uids = world.evses.map((evse) => evse.uid);
  if (!uids.includes(target)) target = uids[0];
  drawTargets(uids, drawn);
  drawWallet(drawn);
  drawWeathers(drawn);
  fill(byId("lookup-cards"), world.wallet, (card) => card.uid, (card) => el("option", { value: card.uid, label: card.label }));
  const power = byId("power");
  say(power, world.power ? "Pull the power" : "Give the power back");
  mark(power, "data-on", !world.power);
}

function drawTargets(uids, drawn) {
  show(byId("targets"), uids.length > 1);
  fill(byId("target-list"), uids, (uid) => uid, (uid) => option("target", uid, uid, ""), (row, uid) => {
    const input = row.querySelector("input");
    input.checked = uid === target;
    input.onchange = () => {
      target = uid;
      draw(drawn);
    };
  });
}

function drawWallet(drawn) {
  fill(byId("wallet"), world.wallet, (card) => card.uid, makeCard, (row, card) => {
    const button = row.firstElementChild;
    say(button.querySelector(".unseen"), `Hold to the reader of ${target}: `);
    button.onclick = () => hold(target, card, drawn);
  });
}

function makeCard(card) {
  const button = el(
    "button",
    { type: "button", class: `rfid tint-${tintOf(card)}`, draggable: "true" },
    el("span", { class: "unseen" }),
    el("strong", {}, card.label),
    el("span", { class: "rfid-what" }, ...card.what.split(/(?<=[A-Z]{3}_)/).flatMap((part, at) => (at ? [el("wbr"), part] : [part]))),
    el("span", { class: "rfid-uid" }, /^08.{6}$/.test(card.uid) ? "random" : masked(card.uid)),
  );
  button.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/x-card", card.uid));
  return el("li", {}, button);
}

/** A card may be dragged to a charge point as well; the buttons do the same. */
export function takeDrops(drawn) {
  const evses = byId("evses");
  const over = (event) => (world && event.dataTransfer.types.includes("text/x-card") ? event.target.closest(".evse") : null);
  evses.addEventListener("dragover", (event) => over(event) && event.preventDefault());
  evses.addEventListener("drop", (event) => {
    const evse = over(event)?.dataset.evse;
    const card = world?.wallet.find((one) => one.uid === event.dataTransfer.getData("text/x-card"));
    if (!evse || !card) return;
    event.preventDefault();
    hold(evse, card, drawn);
  });
}

function drawWeathers(drawn) {
  const weathers = world.weathers ?? [];
  fill(byId("weathers"), weathers, (weather) => weather, (weather) => option("weather", weather, ...weatherWords(weather)), (row, weather) => {
    const input = row.querySelector("input");
    input.checked = weather === world.weather;
    input.onchange = () => act("/world/weather", { weather }, drawn);
  });
}

function option(group, value, name, about) {
  return el(
    "label",
    { class: "option", "data-value": value },
    el("input", { type: "radio", name: group, value }),
    el("span", { class: "option-name" }, name),
    about ? el("span", { class: "option-about" }, about) : null,
  );
}

/** The plug of each EVSE, under its drawing. */
export function drawPlugs(drawn) {
  for (const card of document.querySelectorAll(".evse")) {
    const evse = world?.evses.find((one) => one.uid === card.dataset.evse);
    show(card.querySelector(".evse-world"), Boolean(evse));
    if (!evse) continue;
    const button = card.querySelector(".plug-button");
    say(button, evse.plugged ? "Unplug the car" : "Plug the car in");
    mark(button, "aria-label", `${button.textContent} at ${evse.uid}`);
    button.onclick = () => act("/world/plug", { evse: evse.uid, plugged: !evse.plugged }, drawn);
  }
}
