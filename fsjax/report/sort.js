// A press on a heading sorts the rows of a table.sortable by its column; a second press reverses the order.
// A cell's data-value goes before its text, numbers sort as numbers, and cells without a value stay last.
(() => {
  "use strict";
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      // The script adds the button, so that no button is idle without scripts.
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const direction = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", direction);
        sort(table.tBodies[0], column, direction === "ascending" ? 1 : -1);
      });
    });
  }

  function sort(body, column, sign) {
    const rows = [...body.rows].map((row) => [row, valueOf(row.cells[column])]);
    const numeric = rows.every(([, value]) => value === "" || !Number.isNaN(Number(value)));
    const text = (one, other) => one.localeCompare(other, "en", { numeric: true });
    const compare = numeric ? (one, other) => one - other : text;
    rows.sort(([, one], [, other]) => (one === "") - (other === "") || (one === "" ? 0 : sign * compare(one, other)));
    body.append(...rows.map(([row]) => row));
  }

  function valueOf(cell) {
    const text = (cell?.dataset.value ?? cell?.textContent ?? "").trim();
    return text === "–" ? "" : text;
  }
})();
