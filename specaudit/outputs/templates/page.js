"use strict";
for (const table of document.querySelectorAll("table:not(.plain)")) {
  const body = table.tBodies[0], rows = [...body.rows];
  rows.forEach((row, place) => { row.place = place; });
  const number = (text) => {
    if (text === "" || text === "—") return -Infinity;
    return Number.isFinite(Number(text)) ? Number(text) : Infinity; // ∞, NaN, ~ an estimate
  };
  const states = ["fail", "unproven", "warn", "allowed", "pass", "measured"];
  const key = (row, column, numeric) => {
    const cell = row.cells[column];
    if (column === 0) return states.indexOf(row.className);
    const text = (cell.querySelector("summary") || cell).textContent;
    return numeric ? number(text) : text;
  };
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const head = button.closest("th"), column = head.cellIndex, numeric = head.classList.contains("r");
    const before = head.getAttribute("aria-sort");
    const first = numeric ? "descending" : "ascending";
    const other = numeric ? "ascending" : "descending";
    const now = before === first ? other : before === other ? "" : first;
    for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
    if (now) head.setAttribute("aria-sort", now);
    const sign = now === "descending" ? -1 : 1;
    rows.sort((a, b) => {
      if (!now) return a.place - b.place;
      const x = key(a, column, numeric), y = key(b, column, numeric);
      const order = typeof x === "number" ? (x === y ? 0 : x < y ? -1 : 1) : x.localeCompare(y, "en", { numeric: true });
      return sign * order || a.place - b.place;
    });
    body.append(...rows);
  });
  const tools = table.parentElement.querySelector(".tools");
  if (!tools) continue;
  tools.hidden = false;
  const [search, only] = tools.querySelectorAll("input");
  const filter = () => {
    const wanted = search.value.toLowerCase();
    for (const row of rows) {
      const settled = ["pass", "allowed", "measured"].some((word) => row.classList.contains(word));
      row.hidden = !row.textContent.toLowerCase().includes(wanted) || (only.checked && settled);
    }
  };
  tools.addEventListener("input", filter);
}
