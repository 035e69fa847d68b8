"use strict";
// Tables: sorted by a column, filtered by the form above them, groups of columns hidden.
(() => {
  const tables = [...document.querySelectorAll("table.figures")];

  const key = (row, index) => {
    const cell = row.cells[index];
    if ("value" in cell.dataset) return Number(cell.dataset.value);
    return cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const sort = (table, head, direction) => {
    const index = head.cellIndex;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row, index), row]);
    const known = rows.filter(([value]) => value !== "");
    const unknown = rows.filter(([value]) => value === "");
    known.sort(([a], [b]) => (direction === "ascending" ? compare(a, b) : compare(b, a)));
    table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
    for (const each of table.querySelectorAll("[aria-sort]")) each.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", direction);
  };
  for (const table of tables) {
    for (const button of table.querySelectorAll(".sort")) {
      button.addEventListener("click", () => {
        const head = button.closest("th");
        // of figures, the largest are wanted first
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        sort(table, head, head.getAttribute("aria-sort") === first ? other : first);
      });
    }
  }

  for (const button of document.querySelectorAll("[data-columns]")) {
    const table = document.getElementById(button.dataset.table);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      for (const cell of table.querySelectorAll("[data-group]")) {
        if (cell.dataset.group === button.dataset.columns) cell.hidden = !shown;
      }
    });
  }

  const form = document.getElementById("filters");
  if (!form) return;
  const selects = [...form.querySelectorAll("select")];
  const matches = (element, text) =>
    selects.every((select) => {
      const found = element.dataset[select.name];
      return !select.value || !found || JSON.parse(found).includes(select.value);
    }) && text.every((word) => element.textContent.toLowerCase().includes(word));
  const filter = () => {
    const text = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const select of selects) select.classList.toggle("active", select.value !== "");
    for (const table of tables) {
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) row.hidden = !matches(row, text);
      const shown = rows.filter((row) => !row.hidden).length;
      document.querySelector(`[data-count="${table.id}"]`).textContent =
        shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows: the filter hides the others`;
    }
    const others = document.querySelectorAll(".sheet, .configuration, .heat tbody tr");
    for (const each of others) each.hidden = !matches(each, []);
    document.dispatchEvent(new CustomEvent("filtered", { detail: (panel) => matches(panel, []) }));
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();
})();
