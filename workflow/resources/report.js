"use strict";
// Sorting, filtering and opening of a page's table of rows. Texts are only ever compared and moved, never parsed.

// Light or dark: as the system, until the reader chooses; kept where the browser keeps anything for a file.
const theme = document.getElementById("theme"), root = document.documentElement;
const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const wear = name => {
  if (name === "light" || name === "dark") root.dataset.theme = name;
  theme.textContent = dark() ? "Light" : "Dark";
};
let worn = null;
try { worn = localStorage.getItem("theme"); } catch { /* nothing is kept */ }
wear(worn);
theme.hidden = false;
theme.addEventListener("click", () => {
  wear(dark() ? "light" : "dark");
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* nothing is kept */ }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => wear(null));

// A picture as large as the window; Esc or any click closes it.
const large = document.getElementById("large");
document.addEventListener("click", event => {
  const zoom = event.target.closest(".zoom");
  if (!zoom) return;
  const from = zoom.querySelector("img"), to = new Image();
  to.src = from.src;
  to.alt = from.alt;
  to.className = zoom.closest(".panel") ? "pixels" : "";
  large.append(to);
  large.showModal();
});
large.addEventListener("click", () => large.close());
large.addEventListener("close", () => large.querySelector("img").remove());

const table = document.getElementById("runs");
if (table) {
  const STEP = 100; // rows laid out at once: more of them would make every click slow
  const body = table.tBodies[0], filter = document.getElementById("filter");
  const count = document.getElementById("count"), more = document.getElementById("more");
  const collator = new Intl.Collator("en", { numeric: true });
  const details = new Map(); // of the rows that are open
  let rows = [...body.rows], limit = STEP, usual = STEP;
  const words = new Map(rows.map(row => [row, [...row.cells].map(cell => cell.textContent).join(" ").toLowerCase()]));

  function matching() {
    if (!filter) return rows;
    const selects = [...filter.querySelectorAll("select")].filter(select => select.value);
    const wanted = filter.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    return rows.filter(row => wanted.every(word => words.get(row).includes(word))
      && selects.every(select => row.cells[select.dataset.column].textContent === select.value));
  }

  function show() {
    const found = matching(), shown = found.slice(0, limit);
    body.replaceChildren(...shown.flatMap(row => details.has(row) ? [row, details.get(row)] : [row]));
    const rest = found.length - shown.length;
    count.textContent = `${found.length} of ${rows.length} ${table.dataset.noun}${rest ? `, the first ${shown.length} are shown` : ""}`;
    more.hidden = !rest;
    more.textContent = `Show ${Math.min(rest, STEP)} more`;
  }

  function sort(button) {
    const head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map(row => {
      const cell = row.cells[button.dataset.column], text = cell.dataset.value ?? cell.textContent;
      const missing = text === "" || text === "–";
      return { row, text, missing, number: missing ? NaN : Number(text) };
    });
    // Numbers come before words, what is missing comes last either way; equal rows keep their order.
    keyed.sort((a, b) => {
      if (a.missing || b.missing) return a.missing - b.missing;
      const kinds = isNaN(a.number) - isNaN(b.number);
      const order = kinds || (isNaN(a.number) ? collator.compare(a.text, b.text) : a.number - b.number);
      return down ? -order : order;
    });
    rows = keyed.map(entry => entry.row);
    show();
  }

  function toggle(row, on = !details.has(row)) {
    if (on === details.has(row)) return;
    row.querySelector("button").setAttribute("aria-expanded", on);
    if (!on) {
      details.get(row).remove();
      details.delete(row);
      return;
    }
    const detail = document.createElement("tr"), cell = detail.insertCell();
    detail.className = "detail";
    cell.colSpan = row.cells.length;
    cell.append(row.querySelector("template").content.cloneNode(true));
    for (const place of cell.querySelectorAll("[data-part]"))
      place.replaceWith(document.getElementById(place.dataset.part).content.cloneNode(true));
    details.set(row, detail);
    row.after(detail);
  }

  // Opens the row that the address names, wherever it is.
  function follow() {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { /* not an address of this page */ }
    const row = rows.find(row => row.id === name);
    if (!row) return;
    if (!matching().includes(row)) filter.reset();
    limit = Math.max(limit, matching().indexOf(row) + 1);
    show();
    toggle(row, true);
    row.scrollIntoView();
  }

  table.tHead.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button) sort(button);
  });
  body.addEventListener("click", event => {
    const row = event.target.closest("tr.run");
    if (event.target.closest("a")) return;
    // A click that ends a selection of text opens nothing, but a button always does.
    if (row && (event.target.closest("button") || getSelection().isCollapsed)) toggle(row);
  });
  if (filter) {
    filter.addEventListener("input", () => { limit = STEP; show(); });
    filter.addEventListener("submit", event => event.preventDefault());
  }
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || large.open) return;
    const writes = event.target.closest?.("input, select");
    if (event.key === "/" && filter && !writes) {
      event.preventDefault();
      filter.elements.words.focus();
    }
    const inside = event.target.closest?.("#runs tbody tr");
    if (!inside || writes) return;
    const row = inside.matches(".run") ? inside : inside.previousElementSibling;
    if (event.key === "Escape" && details.has(row)) {
      toggle(row, false);
      row.querySelector("button").focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches(".run button")) return;
    const shown = [...body.rows].filter(row => row.matches(".run")), next = shown[shown.indexOf(row) + step];
    event.preventDefault();
    next?.querySelector("button").focus();
  });
  for (const part of document.querySelectorAll(".keys, #filter")) part.hidden = false;
  more.addEventListener("click", () => { limit += STEP; show(); });
  addEventListener("beforeprint", () => { usual = limit; limit = Infinity; show(); });
  addEventListener("afterprint", () => { limit = usual; show(); });
  addEventListener("hashchange", follow);
  document.addEventListener("click", event => { // the same address once more is no change of it
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) follow();
  });
  show();
  follow();
}
