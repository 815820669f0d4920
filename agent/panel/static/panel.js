// The bench panel: each state that comes is drawn; when none comes any more, the page says so.
import { announce } from "./announce.js";
import { drawList, drawPeers, drawReaders, drawSessions } from "./books.js";
import { drawChargers, replay } from "./chargers.js";
import { byId, mark, say, show } from "./dom.js";
import { connect, link, listen, send, trouble } from "./link.js";
import { startLookup } from "./lookup.js";
import { drawTaps, forgetRevealed, startTaps } from "./taps.js";
import { clock, span } from "./words.js";
import { drawPlugs, startWorld, takeDrops, world } from "./world.js";

const LINK_WORDS = {
  waiting: "Connecting…",
  live: "Live",
  lost: "Connection lost",
  full: "Too many pages",
  busy: "Too many requests",
  fault: "Fault of the page",
  login: "Log in",
};
const AWAY = {
  lost: "The charge point does not answer. Trying again.",
  full: "The charge point shows this page to as many browsers as it can. Close one of them.",
  busy: "The charge point was asked too often from here, and lets this page wait. Trying again.",
  fault: "The charge point answers, but what it does cannot be shown now: its log says why. Trying again.",
};

let lostSince = null;
let worldStarted = false;
let shown = false;
/** Of whose login it was shown; null without one. */
let shownTo = null;
/** Somebody logs out; else a session that ends was ended by the charge point, and whoever comes back is told so. */
let isLeaving = false;
const ENDED = "session-ended";
/** Somebody has just logged in: the form that has the focus goes. */
let isEntering = false;

function drawBoard() {
  const board = link.board;
  if (!board || (board.login?.needed && !board.login.user)) return;
  if (!shown) shownTo = link.login?.user ?? null;
  shown = true;
  show(byId("board"), true);
  drawChargers(board, world);
  drawPlugs(drawBoard);
  drawTaps(board);
  drawPeers(board);
  drawReaders(board);
  drawList(board);
  drawSessions(board);
  const uptime = board.agent.uptime_s;
  say(byId("agent"), `chargepoint-agent ${board.agent.version}${uptime === null ? "" : ` · up ${span(uptime)}`}`);
  say(byId("status"), board.agent.status);
  say(byId("foot-at"), `State of ${clock(board.at)}.`);
  say(byId("user-name"), board.login?.user ?? "");
  show(byId("user"), Boolean(board.login?.user));
}

function hear() {
  mark(document.body, "data-link", link.state);
  mark(document.body, "data-away", link.state in AWAY);
  if (link.state !== "live") forgetRevealed();
  say(byId("link-words"), link.state === "live" && world?.power === false ? "Without power" : LINK_WORDS[link.state]);
  const user = link.login?.user ?? null;
  const needsLogin = link.state === "login" || (link.login?.needed && !user);
  // Who comes next is to find nothing of who was here: no revealed number above all.
  if (shown && (needsLogin || user !== shownTo)) {
    if (needsLogin && !isLeaving) sessionStorage.setItem(ENDED, "yes");
    forgetRevealed();
    return location.reload();
  }
  show(byId("login"), needsLogin);
  if (needsLogin && document.activeElement === document.body) byId("login-form").elements.user.focus();
  if (link.state === "login") show(byId("board"), false);
  if (link.state === "live") live();
  else away();
}

function live() {
  lostSince = null;
  show(byId("lost"), false);
  drawBoard();
  if (isEntering && shown) {
    isEntering = false;
    byId("chargers").focus();
  }
  for (const tap of announce(link.board)) replay(tap.evse);
  if (!worldStarted) {
    worldStarted = true;
    startWorld(drawBoard);
  }
}

/** Told once, loudly; that it goes on is for the eyes only. */
function away() {
  if (!(link.state in AWAY)) return show(byId("lost"), false);
  // It may be one that this page has not shown yet.
  if (link.state === "fault") drawBoard();
  lostSince ??= performance.now();
  const at = link.board ? ` What you see below was true at ${clock(link.board.at)} and may no longer be.` : "";
  say(byId("lost"), `${LINK_WORDS[link.state]}. ${AWAY[link.state]}${at}`);
  show(byId("lost"), true);
}

setInterval(() => {
  if (lostSince === null || link.state !== "lost") return;
  say(byId("link-words"), `Connection lost, ${span((performance.now() - lostSince) / 1000)}`);
}, 1000);

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await send("/login", new URLSearchParams(new FormData(event.target)));
  if (answer.status !== 200 && answer.status !== 204) return say(byId("login-trouble"), trouble(answer));
  say(byId("login-trouble"), "");
  event.target.reset();
  isEntering = true;
  connect();
});

byId("logout").addEventListener("click", async () => {
  isLeaving = true;
  const answer = await send("/logout", {});
  if (![200, 204, 401, 403].includes(answer.status)) {
    isLeaving = false;
    return say(byId("user-name"), `Still logged in: ${trouble(answer)}`);
  }
  location.reload();
});

say(byId("login-note"), sessionStorage.getItem(ENDED) ? "Your session has ended: please log in again." : "");
sessionStorage.removeItem(ENDED);
startTaps();
startLookup();
takeDrops(drawBoard);
listen(hear);
connect();
