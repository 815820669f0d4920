// A display's glass: its real lines and columns, one cell per column.
import { el, mark } from "./dom.js";

/** A letter with its marks is one character; an older browser shows each of them by itself. */
const charactersOf = (text) =>
  Intl.Segmenter ? Array.from(segmenter.segment(text), ({ segment }) => segment) : Array.from(text);
const segmenter = Intl.Segmenter && new Intl.Segmenter("en", { granularity: "grapheme" });

/** East Asian wide characters take two columns on the glass too (Unicode, UAX 11, the blocks that displays show). */
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/;

/** Until a display has told how large it is. */
const NO_DISPLAY = { lines: [], columns: 20, rows: 2 };

/** Show a display; `isOn` false is a glass without power. */
export function showGlass(glass, display, isOn) {
  const { lines, columns, rows } = display?.columns ? display : NO_DISPLAY;
  const shown = isOn ? lines : [];
  const now = JSON.stringify([shown, columns, rows, isOn]);
  if (glass.dataset.now === now) return;
  glass.dataset.now = now;
  glass.style.setProperty("--columns", columns);
  glass.style.setProperty("--rows", rows);
  mark(glass, "data-on", isOn);
  mark(glass, "aria-label", label(shown, isOn));
  glass.replaceChildren(...Array.from({ length: rows }, (_, row) => line(shown[row] ?? "", columns)));
}

function label(lines, isOn) {
  if (!isOn) return "Display: dark";
  const said = lines.map((text) => text.trim()).filter(Boolean);
  return said.length ? `Display: ${said.join(" / ")}` : "Display: empty";
}

function line(text, columns) {
  const cells = [];
  let used = 0;
  for (const character of charactersOf(text)) {
    const width = WIDE.test(character) ? 2 : 1;
    if (used + width > columns) break;
    cells.push(el("span", { class: width === 2 ? "cell wide" : "cell" }, character));
    used += width;
  }
  while (used++ < columns) cells.push(el("span", { class: "cell" }, " "));
  return el("div", { class: "line" }, ...cells);
}
